"""Text without the secrets in it, line for line; no I/O, and no promise about secrets of unknown shape.

A build decides what its log holds, so each pattern is anchored or bounded: the time is linear in the text.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

MARK: Final = "[redacted]"

# --- Secrets known by their own shape -------------------------------------------------------------------

# The lookbehind keeps a run of word characters from being tried again at each of its letters.
_SHAPES: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"  # AWS
    r"|AIza[\w-]{35}|ya29\.[\w-]{16,}+|GOCSPX-[\w-]{20,}+|1//0[\w-]{20,}+"  # Google
    r"|[\w~.]{3}\dQ~[\w~.-]{31,34}"  # Azure
    r"|gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+"
    r"|gl(?:pat|rt|dt|ptt|ft|soat|cbt|imt|agent|oas|ffct)-[\w.-]{16,}+|GR1348941[\w-]{16,}+"
    r"|xox[a-z]-[\w-]{10,}+|xapp-[\w-]{10,}+"  # Slack
    r"|npm_[A-Za-z0-9]{30,}+|pypi-[\w-]{50,}+|dckr_[po]at_[\w-]{16,}+|rubygems_[a-f0-9]{40,}+"
    r"|[sr]k_(?:live|test)_\w{10,}+|SG\.[\w-]{16,}+\.[\w-]{16,}+|sk-[\w-]{20,}+|hf_[A-Za-z0-9]{30,}+"
    r"|hv[sbr]\.[\w-]{20,}+|do[opr]_v1_[a-f0-9]{40,}+|AGE-SECRET-KEY-1[A-Z0-9]{40,}+"
    r"|bp_[\w-]{43}(?![\w-])"  # the portal's own
    r"|eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]++){0,3}"  # JWT, signed or encrypted
    r")"
)
_SHAPE_HINTS: Final = (
    *("akia", "asia", "abia", "acca", "aiza", "ya29.", "gocspx-", "1//0", "q~"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glrt-", "gldt-", "glptt-", "glft-"),
    *("glsoat-", "glcbt-", "glimt-", "glagent-", "gloas-", "glffct-", "gr1348941", "xox", "xapp-", "npm_"),
    *("pypi-", "dckr_", "rubygems_", "k_live_", "k_test_", "sg.", "sk-", "hf_", "hvs.", "hvb.", "hvr."),
    *("doo_v1_", "dop_v1_", "dor_v1_", "age-secret-key-", "bp_", "eyj"),
)
_SLACK_HOOK: Final = re.compile(r"(hooks\.slack\.com/(?:services|workflows|triggers)/)([\w/-]++)")

# --- Secrets known by where they stand ------------------------------------------------------------------

# Between "://" and the next slash or blank there is no other "://", so no text is scanned twice.
_URL_LOGIN: Final = re.compile(r"://([^\s/:@\"'<>\\]*+)(:?)([^\s/\"'<>\\]*)@")
_HEADER: Final = re.compile(
    r"((?:authorization(?:\\*[\"'])?\s{0,4}+[:=]|\b(?:set-)?cookie:)\s{0,4}+(?:\\*[\"'])?)([^\s\"'\\][^\"'\\]*+)",
    re.IGNORECASE,
)
_SCHEME_WORDS: Final = re.compile(
    r"(?:basic|bearer|digest|token|negotiate|ntlm|apikey|hmac|aws4-\S*|[\w-]+=)[\s\S]*", re.IGNORECASE
)
_BEARER: Final = re.compile(
    r"(\b(?:bearer\s{1,4}+(?=[A-Za-z0-9._~+/=-]{8})|basic\s{1,4}+(?=[A-Za-z0-9+/]{12})))([A-Za-z0-9._~+/=-]++)",
    re.IGNORECASE,
)
_NETRC: Final = re.compile(
    r"(\bmachine\s{1,4}+\S{1,200}+\s{1,4}+login\s{1,4}+\S{1,200}+\s{1,4}+password\s{1,4}+)(\S++)",
    re.IGNORECASE,
)
_LOGIN_FLAG: Final = re.compile(
    r"(\b(?:docker|podman|buildah|skopeo|nerdctl|crane|helm|oras)\s(?:auth\s|registry\s)?login\b"
    r".{0,200}?\s-p[ =]?)(\S++)"
)
# On a line that speaks of curl; two numbers are a user's and a group's.
_USER_FLAG: Final = re.compile(r"(\s(?:-u|--user)[ =]?[\"']?(?!\d+:\d)[^\s:\"']{1,200}+:)([^\s\"']++)")
_PEM: Final = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PEM_ON_ONE_LINE: Final = re.compile(rf"()(-----BEGIN {_PEM}.*?(?:-----END {_PEM}|$))")

# --- Secrets known by the name before them --------------------------------------------------------------

_STRONG: Final = (
    r"password|passwd|passphrase|(?<=[_-])pass|(?<=[_-])pwd|client[-_.]?secret|secret[-_.]?token"
    r"|(?:api|access|secret|private|account|encryption|signing|auth|shared|storage|master|deploy|ssh|license)"
    r"[-_.]?key"
    r"|(?:access|auth|refresh|id|session|security|bearer|api|deploy|job|registry|npm|bot)[-_.]?token"
    r"|shared[-_.]?access[-_.]?(?:key|signature)|(?:amz|goog)-signature|(?<=[?&])sig"
    r"|client-key-data|_auth|dockerconfigjson"
)
_WEAK: Final = r"(?<!publickey)token|secret|credentials?|auth|pwd"
_NAME_HINTS: Final = (
    *("passw", "passp", "_pass", "-pass", "pwd", "secret", "key", "token", "auth", "credential", "sig"),
    "dockerconfigjson",
)
_VALUE: Final = (
    r"(?P<value>\"(?:[^\"\\]++|\\.)*+\"?"
    r"|'(?:[^'\\]++|\\.)*+'?"
    r"|\\++[\"'][^\"'\\]*+(?:\\++[\"'])?"
    r"|[^\s\"'`,;&<>{\[\\][^\s\"'`,;&<\\]*+)"
)
_NAMED: Final = re.compile(
    rf"(?P<head>(?:{_STRONG}|(?P<weak>{_WEAK}))(?:\\{{0,4}}[\"']\]?|\])?"
    rf"(?P<sign>\s{{0,4}}+(?::=|=>|[:=])\s{{0,4}}+|>)){_VALUE}",
    re.IGNORECASE,
)
_FLAG: Final = re.compile(
    rf"(?P<head>(?<![\w-])--?(?:[a-z]{{1,20}}-){{0,3}}(?:{_STRONG}|(?P<weak>{_WEAK}))(?P<sign>\s{{1,4}}+))"
    rf"(?!-){_VALUE}",
    re.IGNORECASE,
)
_QUOTED: Final = re.compile(r"(\\*[\"'])(.*?)(\\*[\"'])?", re.DOTALL)
# What stands where a secret would, and is none: references, placeholders, words for nothing, digests.
_NO_SECRET: Final = re.compile(
    r"\$\w++|\$[{(].*+|\$|%\w++%|\*++|x++|\.{2,}+|null|none|nil|true|false|undefined|sha\d{1,3}:[0-9a-f]++"
    r"|(?:os\.environ|process\.env|secrets\.|env\.).*+|\[redacted\].*+",
    re.IGNORECASE,
)


def _hide_login(match: re.Match[str]) -> str:
    """`user:password@` keeps the user; a long user without a password is a token."""
    user, colon, password = match.groups()
    if colon and password:
        return f"://{MARK if len(user) >= 20 else user}:{MARK}@"
    return f"://{MARK}@" if len(user) >= 16 else match[0]


def _hide_header(match: re.Match[str]) -> str:
    """A header's value is one word, or begins with its scheme; anything else is a sentence."""
    rest = match[2].rstrip()
    if " " in rest and not _SCHEME_WORDS.fullmatch(rest):
        return match[0]
    return f"{match[1]}{MARK}"


def _hide_named(match: re.Match[str]) -> str:
    opening, value, closing = _unquoted(match["value"])
    is_sentence = "=" not in match["sign"]
    if not value or _NO_SECRET.fullmatch(value):
        return match[0]
    if match["weak"] and _is_harmless(
        match["weak"].lower(), value, is_sentence=is_sentence, quoted=bool(opening)
    ):
        return match[0]
    return f"{match['head']}{opening}{MARK}{closing}"


def _is_harmless(name: str, value: str, *, is_sentence: bool, quoted: bool) -> bool:
    """Whether a name that often means something else does so here: `PWD=/src`, `token: import`, `auth=1`."""
    if name == "pwd" and value.startswith("/"):
        return True
    if value.isdigit() and len(value) < 6:
        return True
    return is_sentence and not _is_random(value, least=8 if quoted else 12)


def _hide_flagged(match: re.Match[str]) -> str:
    """`--secret id=npm,src=…` names a secret's place, it holds none."""
    opening, value, closing = _unquoted(match["value"])
    if not value or _NO_SECRET.fullmatch(value) or (match["weak"] and value.startswith(("id=", "type="))):
        return match[0]
    return f"{match['head']}{opening}{MARK}{closing}"


def _hide_second(match: re.Match[str]) -> str:
    return match[0] if _NO_SECRET.fullmatch(match[2]) else f"{match[1]}{MARK}"


def _hide_bearer(match: re.Match[str]) -> str:
    """ "Basic authentication" is a sentence."""
    return f"{match[1]}{MARK}" if _is_random(match[2], least=8) or len(match[2]) >= 24 else match[0]


def _unquoted(value: str) -> tuple[str, str, str]:
    """Opening quote, content and closing quote; the quotes may be escaped or missing."""
    quoted = _QUOTED.fullmatch(value)
    return (quoted[1], quoted[2], quoted[3] or "") if quoted else ("", value, "")


def _is_random(value: str, *, least: int) -> bool:
    """Whether it looks drawn rather than written: long enough, digits or capitals among small letters."""
    if len(value) < least or not any(map(str.isalpha, value)):
        return False
    return any(map(str.isdigit, value)) or not (value.islower() or value.isupper() or value[1:].islower())


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern is tried only where one of its hints occurs in the line's small letters."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replace: Callable[[re.Match[str]], str]


_RULES: Final = (
    _Rule(("private key",), _PEM_ON_ONE_LINE, _hide_second),
    _Rule(("authorization", "cookie:"), _HEADER, _hide_header),
    _Rule(_SHAPE_HINTS, _SHAPES, lambda _: MARK),
    _Rule(("://",), _URL_LOGIN, _hide_login),
    _Rule(("hooks.slack.com/",), _SLACK_HOOK, _hide_second),
    _Rule(_NAME_HINTS, _NAMED, _hide_named),
    _Rule(_NAME_HINTS, _FLAG, _hide_flagged),
    _Rule(("bearer", "basic"), _BEARER, _hide_bearer),
    _Rule(("machine",), _NETRC, _hide_second),
    _Rule(("login",), _LOGIN_FLAG, _hide_second),
    _Rule(("curl",), _USER_FLAG, _hide_second),
)
_SHORTEST_FIND: Final = 5
_MOST_PASSES: Final = 6


def redact(text: str, extra_patterns: Iterable[re.Pattern[str]] = ()) -> str:
    """The text with `[redacted]` in place of each secret, with the same line breaks as before.

    A second pass changes nothing. What one of `extra_patterns` matches is replaced as a whole, line by line.
    """
    extra = tuple(extra_patterns)
    lines = _without_key_blocks(text.splitlines(keepends=True))
    return "".join(_redact_line(line, extra) for line in lines)


def _redact_line(whole: str, extra: tuple[re.Pattern[str], ...]) -> str:
    line, ending = _split_ending(whole)
    if len(line) < _SHORTEST_FIND and not extra:
        return whole
    # A replacement can bring a name and a value together that were apart, so this goes on until it is still.
    for _ in range(_MOST_PASSES):
        before = line
        for pattern in extra:
            line = _outside_marks(pattern, line)
        small = line.lower()
        for rule in _RULES:
            if any(hint in small for hint in rule.hints):
                line = rule.pattern.sub(rule.replace, line)
        if line == before:
            break
    return line + ending


def _outside_marks(pattern: re.Pattern[str], line: str) -> str:
    """A pattern such as `\\w+` must not find the marks themselves, nor one such as `x*` the empty string."""
    return MARK.join(pattern.sub(lambda match: MARK if match[0] else "", part) for part in line.split(MARK))


def _split_ending(line: str) -> tuple[str, str]:
    content = line.splitlines()[0] if line else ""
    return content, line[len(content) :]


# --- Private keys over several lines --------------------------------------------------------------------

_KEY_BEGIN: Final = re.compile(rf"-----BEGIN {_PEM}\s*$")
_KEY_END: Final = re.compile(rf"-----END {_PEM}")
# A time stamp or a step's number may stand before the base64.
_KEY_BODY: Final = re.compile(r"(?:.{0,60}?[\s|])?(?:[A-Za-z0-9+/=]{32,128}|(?:Proc-Type|DEK-Info): .*)\s*")
_KEY_LAST: Final = re.compile(r"(?:.{0,60}?[\s|])?[A-Za-z0-9+/=]{1,128}\s*")
# A key of 16,384 bits has fewer.
_LONGEST_KEY_LINES: Final = 250


def _without_key_blocks(lines: list[str]) -> list[str]:
    """Whole blocks, and what is left of one whose begin or end was cut off, as a log's tail may be."""
    ends = [number for number, line in enumerate(lines) if "PRIVATE KEY" in line and _KEY_END.search(line)]
    begins = [
        number for number, line in enumerate(lines) if "PRIVATE KEY" in line and _KEY_BEGIN.search(line)
    ]
    if not begins and not ends:
        return lines
    kept = list(lines)
    covered = -1
    for begin in begins:
        if begin <= covered:
            continue
        following = bisect_left(ends, begin)
        end = ends[following] if following < len(ends) else None
        covered = (
            end if end is not None and end - begin <= _LONGEST_KEY_LINES else _last_of_cut_key(lines, begin)
        )
        for number in range(begin, covered + 1):
            kept[number] = _blanked(lines[number])
    for end in ends:
        number = end
        while number >= 0 and MARK not in kept[number] and _belongs_to_end(lines[number], end - number):
            kept[number] = _blanked(lines[number])
            number -= 1
    return kept


def _last_of_cut_key(lines: list[str], begin: int) -> int:
    number = begin
    while number + 1 < len(lines) and _KEY_BODY.fullmatch(lines[number + 1]):
        number += 1
    return number


def _belongs_to_end(line: str, distance: int) -> bool:
    if distance == 0:
        return True
    return bool((_KEY_LAST if distance == 1 else _KEY_BODY).fullmatch(line))


def _blanked(line: str) -> str:
    """What stands before a begin and behind an end is kept."""
    content, ending = _split_ending(line)
    begin, end = _KEY_BEGIN.search(content), _KEY_END.search(content)
    return f"{content[: begin.start()] if begin else ''}{MARK}{content[end.end() :] if end else ''}{ending}"
