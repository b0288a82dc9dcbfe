"""Text from the cluster made harmless for a page, beyond the escaping that templates do anyway."""

import re

from django import template

register = template.Library()

# ECMA-48: OSC, DCS, APC, PM and SOS strings up to their terminator, CSI sequences, other escapes, one by one.
# A string that is never terminated ends with its line, so that it cannot swallow the rest of a log.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_LONE_RETURN = re.compile(r"\r\n?")
# Whatever turns the reading direction or hides: Unicode's bidirectional controls (UAX #9).
_DIRECTIONS = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_MARKS = dict.fromkeys(_DIRECTIONS, "\N{REPLACEMENT CHARACTER}")
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_LATE_CONTROLS = dict.fromkeys(range(0x7F, 0xA0), "\N{REPLACEMENT CHARACTER}")
_VISIBLE = {**_MARKS, **_CONTROLS, **_LATE_CONTROLS}


@register.filter
def harmless(text: str | None) -> str:
    """Without terminal escapes and links; a carriage return breaks the line; other controls become visible.

    A terminal would let `\\r` and backspace paint over what was there; a page shows all of it.
    """
    if not text:
        return ""
    return _LONE_RETURN.sub("\n", _ESCAPES.sub("", text)).translate(_VISIBLE)


@register.filter
def last_lines(text: str, count: int) -> str:
    """At most the last `count` lines."""
    return "\n".join(text.rstrip("\n").split("\n")[-count:])
