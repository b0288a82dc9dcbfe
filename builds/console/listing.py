"""The list page's reading of its URL: filters, page and window to rows and total; it changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.http import QueryDict
from django.utils import timezone

from builds.filters import BuildFilter
from builds.models import Build
from builds.states import Status

PAGE_SIZE = 30
# As in the API: further on, each page costs the database more; a narrower filter is the better way there.
DEEPEST_ROW = 10_000

WINDOWS: Mapping[str, tuple[str, timedelta]] = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
CHIPS: list[tuple[str, str]] = [
    ("", "All"),
    ("active", "Active"),
    ("finished", "Finished"),
    *((status.value, str(status.label)) for status in Status),
]
_FILTERS = frozenset(
    {"status", "third_party_id", "parser_id", "q", "created_after", "created_before", "correlation_id"}
)
_OWN = frozenset({"page", "window"})


@dataclass(frozen=True, slots=True)
class BuildList:
    """One page of the list; with `errors`, nothing is shown: a mistyped filter must not show all."""

    params: QueryDict
    builds: list[Build] = field(default_factory=list)
    total: int = 0
    page: int = 1
    last_page: int = 1
    is_cut: bool = False
    errors: list[str] = field(default_factory=list)
    chips: list[tuple[str, str]] = field(default_factory=lambda: CHIPS)
    windows: Mapping[str, tuple[str, timedelta]] = field(default_factory=lambda: WINDOWS)

    @property
    def statuses(self) -> list[str]:
        """The chosen status words; [""] for none, as the chip "All" has it."""
        words = ",".join(self.params.getlist("status")).split(",")
        return [word.strip() for word in words if word.strip()] or [""]

    @property
    def is_filtered(self) -> bool:
        """Whether any filter narrows the list."""
        return any(self.params.get(name) for name in _FILTERS | {"window"})

    @property
    def previous_page(self) -> int:
        """The page with newer builds."""
        return self.page - 1

    @property
    def next_page(self) -> int:
        """The page with older builds."""
        return self.page + 1

    @property
    def first_row(self) -> int:
        """The place of the first row shown, from 1."""
        return (self.page - 1) * PAGE_SIZE + 1

    @property
    def last_row(self) -> int:
        """The place of the last row shown."""
        return self.first_row + len(self.builds) - 1


def build_list(params: QueryDict) -> BuildList:
    """The page that the URL asks for. Two queries; none when a filter is not understood."""
    errors = [f"There is no filter named “{name}”." for name in sorted(set(params) - _FILTERS - _OWN)]
    data = QueryDict(mutable=True)
    for name in sorted(_FILTERS & set(params)):
        # A form sends its empty fields too.
        data.setlist(name, [value for value in params.getlist(name) if value.strip()])
        if not data.getlist(name):
            del data[name]
    window = params.get("window", "")
    if window in WINDOWS:
        data.setdefault("created_after", (timezone.now() - WINDOWS[window][1]).isoformat())
    elif window:
        errors.append("The window must be one of: " + ", ".join(WINDOWS) + ".")
    asked = BuildFilter(data, queryset=Build.objects.newest_first())
    if not asked.form.is_valid():
        errors += [f"{name} {message}." for name, found in asked.form.errors.items() for message in found]
    if errors:
        return BuildList(params=params, errors=errors)
    matching = asked.qs
    total = matching.count()
    last_page = max(1, min(-(-total // PAGE_SIZE), DEEPEST_ROW // PAGE_SIZE))
    page = min(_whole_number(params.get("page", "1")), last_page)
    first = (page - 1) * PAGE_SIZE
    rows = matching.newest_first().defer("job")[first : first + PAGE_SIZE]
    return BuildList(
        params=params,
        builds=list(rows),
        total=total,
        page=page,
        last_page=last_page,
        is_cut=total > last_page * PAGE_SIZE,
    )


def _whole_number(text: str) -> int:
    """The page number asked for; 1 for what is none."""
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1
