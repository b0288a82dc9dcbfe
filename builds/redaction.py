"""Text without the secrets in it, line for line; no I/O, and no promise about secrets of unknown shape.

Every pattern is anchored so that one pass is linear in the text: a build decides what its log holds.
"""

import re
from collections.abc import Iterable
from typing import Final

MARK: Final = "[redacted]"

# --- Secrets known by their own shape -------------------------------------------------------------------

# The lookbehind keeps a run of word characters from being tried again at each of its letters.
_SHAPES: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"  # AWS access keys
    r"|AIza[\w-]{35}|ya29\.[\w-]{16,}+|GOCSPX-[\w-]{20,}+|1//0[\w-]{20,}+"  # Google
    r"|[\w~.]{3}\dQ~[\w~.-]{31,34}"  # Azure client secrets
    r"|gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+"
    r"|gl(?:pat|rt|dt|ptt|ft|soat|cbt|imt|agent|oas|ffct)-[\w.-]{16,}+|GR1348941[\w-]{16,}+"
    r"|xox[a-z]-[\w-]{10,}+|xapp-[\w-]{10,}+"  # Slack
    r"|npm_[A-Za-z0-9]{30,}+|pypi-[\w-]{16,}+|dckr_[po]at_[\w-]{16,}+|rubygems_[a-f0-9]{40,}+"
    r"|[sr]k_(?:live|test)_\w{10,}+|SG\.[\w-]{16,}+\.[\w-]{16,}+|sk-[\w-]{20,}+|hf_[A-Za-z0-9]{30,}+"
    r"|hv[sbr]\.[\w-]{20,}+|do[opr]_v1_[a-f0-9]{40,}+|AGE-SECRET-KEY-1[A-Z0-9]{40,}+"
    r"|bp_[\w-]{43}(?![\w-])"  # the portal's own tokens
    r"|eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]++){0,3}"  # JWT, signed or encrypted
    r")"
)
_SLACK_HOOK: Final = re.compile(r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[\w/-]++")

# --- Secrets known by where they stand ------------------------------------------------------------------

# Between "://" and the next slash or blank there is no other "://", so no text is scanned twice.
_URL_LOGIN: Final = re.compile(r"://([^\s/:@\"'<>\\]*+)(:?)([^\s/\"'<>\\]*)@")
_PEM_INLINE: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|$)"
)
# A header's value ends with its line, or with the quote around it.
_HEADER: Final = re.compile(
    r"((?:proxy-)?authorization(?:\\*[\"'])?\s{0,4}+[:=]\s{0,4}+(?:\\*[\"'])?|(?:set-)?cookie:\s{0,4}+)"
    r"[^\s\"'\\][^\"'\\]*+",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"\b(bearer\s{1,4}+)([A-Za-z0-9._~+/=-]{8,}+)", re.IGNORECASE)
_BASIC: Final = re.compile(r"\b(basic\s{1,4}+)([A-Za-z0-9+/]{12,}+={0,2}+)", re.IGNORECASE)
_NETRC: Final = re.compile(
    r"(\bmachine\s{1,4}+\S{1,200}+\s{1,4}+login\s{1,4}+\S{1,200}+\s{1,4}+password\s{1,4}+)(\S++)",
    re.IGNORECASE,
)
_LOGIN_FLAG: Final = re.compile(
    r"(\b(?:docker|podman|buildah|skopeo|nerdctl|crane|helm|oras)\s(?:auth\s|registry\s)?login\b"
    r".{0,200}?\s-p[ =]?)"
    r"(\S++)"
)
_USER_FLAG: Final = re.compile(
    r"((?<![\w-])curl(?=\s).{0,500}?\s(?:-u|--user)[ =]?[\"']?[^\s:\"']{1,200}+:)([^\s\"']++)"
)


# --- Secrets known by the name before them --------------------------------------------------------------

_STRONG: Final = (
    r"password|passwd|passphrase|(?<=[_-])pass|(?<=[_-])pwd|client[-_.]?secret|secret[-_.]?token"
    r"|(?:api|access|secret|private|account|encryption|signing|auth|shared|storage|master|deploy|ssh|license)"
    r"[-_.]?key"
    r"|(?:access|auth|refresh|id|session|security|bearer|api|deploy|job|registry|npm|bot)[-_.]?token"
    r"|shared[-_.]?access[-_.]?signature|(?:amz|goog)-signature|(?<=[?&])sig"
    r"|client-key-data|_auth|dockerconfigjson"
)
_WEAK: Final = r"token|secret|credentials?|auth|pwd"
_VALUE: Final = (
    r"(?P<value>\"(?:[^\"\\]++|\\.)*+\"?"
    r"|'(?:[^'\\]++|\\.)*+'?"
    r"|\\++[\"'][^\"'\\]*+(?:\\++[\"'])?"
    r"|[^\s\"'`,;&|<>(){}\\]++)"
)
_NAMED: Final = re.compile(
    rf"(?P<head>(?:(?P<strong>{_STRONG})|(?P<weak>{_WEAK}))(?:\\{{0,4}}[\"'\]])?"
    rf"(?P<sign>\s{{0,4}}+(?::=|=>|[:=])\s{{0,4}}+))(?:{_VALUE})",
    re.IGNORECASE,
)
_FLAG: Final = re.compile(
    rf"(?P<head>(?<![\w-])--?(?:[a-z]{{1,20}}-){{0,3}}(?:{_STRONG}|{_WEAK})\s{{1,4}}+)(?!-){_VALUE}",
    re.IGNORECASE,
)

# What stands where a secret would, and is none: references, templates, words for nothing, digests.
_NO_SECRET: Final = re.compile(
    r"\$\w++|\$\{[^}]*+\}?|\$|%\w++%|\*++|x++|null|none|nil|true|false|undefined|\d{1,3}|sha\d{1,3}:[0-9a-f]++"
    r"|\[redacted\].*",
    re.IGNORECASE,
)
_QUOTES: Final = re.compile(r"(\\*[\"'])(.*?)(\\*[\"'])?", re.DOTALL)


def redact(text: str, extra_patterns: Iterable[re.Pattern[str]] = ()) -> str:
    """The text with `[redacted]` in place of each secret, with as many lines as before.

    A second pass changes nothing. Each of `extra_patterns` is replaced as a whole, line by line.
    """
    extra = tuple(extra_patterns)
    lines = _without_key_blocks(text.split("\n"))
    return "\n".join(_redact_line(line, extra) for line in lines)


def _redact_line(line: str, extra: tuple[re.Pattern[str], ...]) -> str:
    # A replacement can bring a name and a value together that were apart, so this goes on until it is still.
    for _ in range(5):
        before = line
        for pattern in extra:
            line = pattern.sub(MARK, line)
        line = _one_pass(line)
        if line == before:
            break
    return line


def _one_pass(line: str) -> str:
    line = _PEM_INLINE.sub(MARK, line)
    line = _HEADER.sub(rf"\1{MARK}", line)
    line = _SHAPES.sub(MARK, line)
    if "://" in line:
        line = _URL_LOGIN.sub(_hide_login, line)
    line = _SLACK_HOOK.sub(rf"\1{MARK}", line)
    line = _NAMED.sub(_hide_named, line)
    line = _FLAG.sub(_hide_flagged, line)
    for pattern in (_SCHEME, _BASIC, _NETRC, _LOGIN_FLAG, _USER_FLAG):
        line = pattern.sub(_hide_second, line)
    return line


def _hide_login(match: re.Match[str]) -> str:
    """`user:password@` keeps the user; a long user without a password is a token."""
    user, colon, password = match.groups()
    if colon and password:
        return f"://{MARK if len(user) >= 20 else user}:{MARK}@"
    return f"://{MARK}@" if len(user) >= 16 else match[0]


def _hide_named(match: re.Match[str]) -> str:
    opening, value, closing = _unquoted(match["value"])
    if not value or _NO_SECRET.fullmatch(value):
        return match[0]
    # A path after PWD is the shell's own.
    if (match["weak"] or "").lower() == "pwd" and value.startswith("/"):
        return match[0]
    # "unexpected token: import" is a sentence, "token=import" is not.
    if match["weak"] and "=" not in match["sign"] and not _is_random(value, least=8 if opening else 12):
        return match[0]
    return f"{match['head']}{opening}{MARK}{closing}"


def _hide_flagged(match: re.Match[str]) -> str:
    opening, value, closing = _unquoted(match["value"])
    if not value or _NO_SECRET.fullmatch(value):
        return match[0]
    return f"{match['head']}{opening}{MARK}{closing}"


def _hide_second(match: re.Match[str]) -> str:
    if _NO_SECRET.fullmatch(match[2]) or (len(match[2]) < 24 and match[2].isalpha() and match[2].islower()):
        return match[0]
    return f"{match[1]}{MARK}"


def _unquoted(value: str) -> tuple[str, str, str]:
    """Opening quote, content and closing quote; the quotes may be escaped or missing."""
    quoted = _QUOTES.fullmatch(value)
    return (quoted[1], quoted[2], quoted[3] or "") if quoted else ("", value, "")


def _is_random(value: str, *, least: int) -> bool:
    """Whether it looks drawn rather than written: long enough, digits or capitals among small letters."""
    if len(value) < least or not any(map(str.isalpha, value)):
        return False
    return any(map(str.isdigit, value)) or (
        not value.istitle() and not value.islower() and not value.isupper()
    )


# --- Private keys over several lines --------------------------------------------------------------------

_KEY_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----\s*$")
_KEY_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# What a key's line holds after a time stamp or a step's number: base64, a header, or nothing.
_KEY_LINE: Final = re.compile(
    r"(?:.{0,60}?[\s|])?(?:[A-Za-z0-9+/=]{1,128}|(?:Proc-Type|DEK-Info|Comment): .*|)\s*"
)


def _without_key_blocks(lines: list[str]) -> list[str]:
    """A block may lack its begin or its end: a log's tail is cut anywhere."""
    kept = list(lines)
    inside = False
    for number, line in enumerate(lines):
        if _KEY_END.search(line):
            _blank_backwards(kept, number)
            inside = False
        elif _KEY_BEGIN.search(line):
            inside = True
            kept[number] = MARK
        elif inside:
            inside = _KEY_LINE.fullmatch(line) is not None
            if inside:
                kept[number] = MARK
    return kept


def _blank_backwards(lines: list[str], end: int) -> None:
    """Blank the end line and the key's lines before it, whose begin was cut off or is blanked already."""
    lines[end] = MARK
    for number in range(end - 1, -1, -1):
        if lines[number] == MARK or not _KEY_BODY.fullmatch(lines[number]):
            return
        lines[number] = MARK


_KEY_BODY: Final = re.compile(r"(?:.{0,60}?[\s|])?[A-Za-z0-9+/=]{32,128}\s*")
