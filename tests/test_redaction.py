"""Redaction: what must go, what must stay, and that hostile text costs no more than long text."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builds.redaction import MARK, redact

# Put together here, so that no scanner takes these for somebody's.
AWS_ID = "AKIA" + "IOSFODNN7EXAMPLE"
AWS_KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
GITHUB = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
GITLAB = "gl" + "pat-" + "a1B2c3D4e5F6g7H8i9J0"
SLACK = "xo" + "xb-" + "123456789012-abcdefghijkl"
NPM = "np" + "m_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
GOOGLE = "AI" + "za" + "SyA1234567890abcdefghijklmnopqrstuv"
BODY = "MIIEpAIBAAKCAQEA7bq8Zr2xYk1mT5v9w0uPp3sLh6cQd4eRf7gTj8kUl2oVn1b5"

# The text, and the part of it that must be gone.
SECRETS = [
    ("AWS_ACCESS_KEY_ID=" + AWS_ID, AWS_ID),
    (f"found credentials {AWS_ID} in the environment", AWS_ID),
    (f"AWS_SECRET_ACCESS_KEY={AWS_KEY}", AWS_KEY),
    (f"aws_secret_access_key = {AWS_KEY}", AWS_KEY),
    (f'"SecretAccessKey": "{AWS_KEY}"', AWS_KEY),
    ("aws_session_token=FwoGZXIvYXdzEJr//////////wEaDA", "FwoGZXIvYXdzEJr"),
    ("GET https://b.s3.amazonaws.com/k?X-Amz-Signature=abcdef0123&X-Amz-Date=20250101", "abcdef0123"),
    (f"key={GOOGLE}", GOOGLE),
    (r'"private_key": "-----BEGIN PRIVATE KEY-----\nMIIEv\n-----END PRIVATE KEY-----\n"', "MIIEv"),
    ("AccountName=a;AccountKey=abc123+/==;EndpointSuffix=core.windows.net", "abc123"),
    ("Endpoint=sb://a/;SharedAccessKeyName=n;SharedAccessKey=s3cr3t=", "s3cr3t"),
    ("https://a.blob.core.windows.net/c?sv=2020&sig=abc%2Fdef%3D&se=2030", "abc%2Fdef"),
    ("abc8Q~" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7", "8Q~"),
    (f"token {JWT} refused", JWT),
    (f"Authorization: Bearer {JWT}", JWT),
    ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("authorization: AWS4-HMAC-SHA256 Credential=a/b, Signature=fe5f80", "fe5f80"),
    ("curl -H 'Authorization: token s3cr3t' https://api.example.com", "s3cr3t"),
    ('{"Authorization": "Bearer s3cr3tvalue"}', "s3cr3tvalue"),
    ("Proxy-Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("sent Bearer abcdef1234567890", "abcdef1234567890"),
    ("Set-Cookie: session=abc123; Path=/", "abc123"),
    ("X-Api-Key: abcdef123456", "abcdef123456"),
    ("cloning https://user:hunter2@git.example.com/a.git", "hunter2"),
    ("cloning https://user:hun@ter2@git.example.com/a.git", "ter2"),
    ("cloning https://a1b2c3d4e5f6a7b8c9d0@git.example.com/a.git", "a1b2c3d4e5f6a7b8c9d0"),
    ("postgres://portal:s3cr3t@db:5432/portal", "s3cr3t"),
    ("redis://:s3cr3t@cache:6379/0", "s3cr3t"),
    ("pip install --index-url https://u:s3cr3t@pypi.example.com/simple x", "s3cr3t"),
    (f"remote: {GITHUB}", GITHUB),
    (f"https://{GITHUB}@github.com/a/b", GITHUB),
    (f"https://{GITHUB}:x-oauth-basic@github.com/a/b", GITHUB),
    (f"GITLAB={GITLAB}", GITLAB),
    (f"posting with {SLACK}", SLACK),
    ("https://hooks.slack.com/services/T00000000/B00000000/abcdefXYZ", "abcdefXYZ"),
    (f"//registry.npmjs.org/:_authToken={NPM}", NPM),
    ("//registry.example.com/:_auth=dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ('{"auths":{"r.example.com":{"auth":"dXNlcjpwYXNzMQ=="}}}', "dXNlcjpwYXNzMQ"),
    (".dockerconfigjson: eyJhdXRocyI6e319", "eyJhdXRocyI6e319"),
    ("docker login -u bot -p s3cr3t r.example.com", "s3cr3t"),
    ("machine git.example.com login bot password s3cr3t", "s3cr3t"),
    ("curl -u bot:s3cr3t https://example.com", "s3cr3t"),
    ("curl https://example.com --user bot:s3cr3t", "s3cr3t"),
    ("--build-arg NPM_TOKEN=abc123 .", "abc123"),
    ("mytool --password=s3cr3t --verbose", "s3cr3t"),
    ("mytool --password s3cr3t --verbose", "s3cr3t"),
    ("mytool --registry-token 's3cr3t x' --verbose", "s3cr3t x"),
    ("DB_PASSWORD=hunter2", "hunter2"),
    ("db.password: hunter2", "hunter2"),
    ("dbPassword = 'correct horse battery'", "correct horse battery"),
    ('export DB_PASS="a \\"quoted\\" one"', "quoted"),
    ('{"user": "a", "password": "hunter2", "port": 5432}', "hunter2"),
    (r"{\"user\":\"a\",\"password\":\"hunter2\",\"port\":5432}", "hunter2"),
    ("{'client_secret': 'hunter2'}", "hunter2"),
    ('password := "hunter2"', "hunter2"),
    ("os.environ['API_KEY'] = 'hunter2'", "hunter2"),
    ("<password>hunter2</password>", "hunter2"),
    ("jdbc:mysql://db/x?user=a&password=hunter2&ssl=true", "hunter2"),
    ("secret: Ab3dEf6hIj9l", "Ab3dEf6hIj9l"),
    ("token=abc", "abc"),
    ("passphrase: hunter2", "hunter2"),
    ("bp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0-_x", "a1B2c3D4"),
    (f"-----BEGIN OPENSSH PRIVATE KEY-----\n{BODY}\n{BODY}\nabc=\n-----END OPENSSH PRIVATE KEY-----", "abc="),
    (f"2025-01-01T00:00:00Z -----BEGIN EC PRIVATE KEY-----\n2025-01-01T00:00:00Z {BODY}\nnext", BODY),
    (f"{BODY}\nlast=\n-----END RSA PRIVATE KEY-----\nnext", "last="),
    (f"{BODY}\nlast=\n-----END RSA PRIVATE KEY-----\nnext", BODY),
]

STAYS = [
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "Digest: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "Pushed r.example.com/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "correlation id 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "integrity sha512-9fCKqC8kYtVGSGEoD0X7V4c2ZoWGqp0Zq1H0o1u0XhQxg3Yq5mW8kP2s==",
    "h1:aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789abcdefg=",
    "--- PASS: TestTokens (0.00s)",
    "SyntaxError: Unexpected token: import",
    "error: secret not found",
    "PWD=/workspace",
    "password=$DB_PASSWORD",
    "password: ${{ secrets.DB_PASSWORD }}",
    "password=****",
    "max_tokens=4096",
    "author: Ada",
    "secretName: registry-credentials-1234",
    "PublicKeyToken=b77a5c561934e089",
    "Basic authentication failed for the registry",
    "authorization: the server refused what you asked for",
    "ssh://git@github.com/a/b.git",
    "https://example.com/a@b?c=d",
    "RUN --mount=type=secret,id=npm npm ci",
    "docker build --secret id=npm,src=npmrc .",
    "docker run -u 1000:1000 curlimages/curl",
    "INFO[0003] Unpacking rootfs as cmd COPY . . requires it.",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAABgkqhkiG9w0BAQUFADBa\n-----END CERTIFICATE-----",
    "step 3/7 : COPY --from=build /out /out",
    "",
    "\n\n",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secret_goes(text: str, secret: str) -> None:
    assert secret in text
    redacted = redact(text)
    assert secret not in redacted
    assert MARK in redacted
    assert len(redacted.splitlines()) == len(text.splitlines())
    assert redact(redacted) == redacted


@pytest.mark.parametrize("text", STAYS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_the_rest_of_the_line_stays() -> None:
    assert (
        redact("mytool --password=s3cr3t --verbose\r\nDone.")
        == f"mytool --password={MARK} --verbose\r\nDone."
    )
    assert redact("https://bot:s3cr3t@example.com/a") == f"https://bot:{MARK}@example.com/a"
    assert redact('{"password": "a", "port": 1}') == f'{{"password": "{MARK}", "port": 1}}'


def test_text_after_a_cut_key_stays() -> None:
    text = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\nDone.\nfine"
    assert redact(text) == f"{MARK}\n{MARK}\nDone.\nfine"


def test_extra_patterns() -> None:
    extra = [re.compile(r"ACME-\d+"), re.compile(r"\bx*")]
    once = redact("serial ACME-123 of xx\nACME", extra)
    assert once == f"serial {MARK} of {MARK}\nACME"
    assert redact(once, extra) == once


HOSTILE = [
    *(
        "a",
        " ",
        "\n",
        "\\",
        '"',
        "'",
        "=",
        "-",
        "@",
        ".",
        "eyJ",
        "-eyJ",
        "eyJaaaaaaaaa.",
        "SG.",
        "Q~",
        "1//0",
    ),
    *(
        "password",
        "password=",
        'password="',
        "password:\\",
        'password:\\"',
        "--token ",
        "--a-",
        "api_",
        "_auth",
    ),
    *("://", "://a:", "://a@", "authorization:", "authorization: a ", "bearer ", "basic ", "cookie:"),
    *("docker login ", "docker login -p", "machine ", "machine a login ", "curl -u ", "curl -u a"),
    *(
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----END PRIVATE KEY-----\n",
    ),
    *("A" * 64 + "\n", "glpat-", "hooks.slack.com/services/", "sig=&", "token>", "[redacted]"),
]


@pytest.mark.parametrize("piece", HOSTILE, ids=repr)
def test_a_megabyte_of_anything_takes_seconds_not_hours(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    redacted = redact(text)
    assert time.process_time() - began < 8
    assert redacted.count("\n") == text.count("\n")


PIECES = st.sampled_from(
    [
        *HOSTILE,
        *(text for text, _ in SECRETS),
        *STAYS,
        "\r",
        "\x85",
        "\u2028",
        "\u017f",
        "[",
        "]",
        ",",
        ";",
        "&",
        "<",
        "{",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_any_text_keeps_its_lines_and_a_second_pass_changes_nothing(text: str) -> None:
    redacted = redact(text)
    assert len(redacted.splitlines()) == len(text.splitlines())
    assert redacted.count("\n") == text.count("\n")
    assert redact(redacted) == redacted
