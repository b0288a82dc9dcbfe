"""Times and durations as people read them, with what the page's script needs to keep them current."""

from datetime import UTC, datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def words_for(span: timedelta) -> str:
    """A duration in its two largest units: 42 s, 3 min 5 s, 2 h 10 min, 5 d 3 h; negative counts as none."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    for position, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            smaller_unit, smaller = [*_UNITS, ("s", 1)][position + 1]
            rest = seconds % size // smaller
            return f"{seconds // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    raise AssertionError("unreachable: at least a minute")


def relative_words(moment: datetime, now: datetime) -> str:
    """How long ago, in one unit: just now, 42 s ago, 3 min ago, 5 d ago; also in 3 min."""
    seconds = int((now - moment).total_seconds())
    if abs(seconds) < 5:
        return "just now"
    size_of = abs(seconds)
    unit, size = next(((unit, size) for unit, size in _UNITS if size_of >= size), ("s", 1))
    return f"{size_of // size} {unit} ago" if seconds > 0 else f"in {size_of // size} {unit}"


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """The time as seen from now; the script keeps it current and adds the local time as its title."""
    if moment is None:
        return "\N{EN DASH}"
    return format_html(
        '<time class="ago" datetime="{}" title="{}">{}</time>',
        _iso(moment),
        moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        relative_words(moment, timezone.now()),
    )


@register.filter
def clock(moment: datetime | None) -> SafeString | str:
    """The time itself, in UTC as in the cluster's logs; the script adds the local time as its title."""
    if moment is None:
        return "\N{EN DASH}"
    shown = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time class="clock" datetime="{}">{}</time>', _iso(moment), shown)


@register.simple_tag
def elapsed(started_at: datetime | None, completed_at: datetime | None) -> SafeString | str:
    """How long it took; while it has no end, how long so far, which the script keeps counting."""
    if started_at is None:
        return "\N{EN DASH}"
    if completed_at is not None:
        return words_for(completed_at - started_at)
    return format_html(
        '<span class="elapsed" data-since="{}">{}</span>',
        _iso(started_at),
        words_for(timezone.now() - started_at),
    )


@register.simple_tag
def server_time() -> str:
    """This moment, so that the script can allow for a browser whose clock is wrong."""
    return _iso(timezone.now())
