"""GET /builds from the query to rows, total and neighbours; builds no answer."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import DurationField, ExpressionWrapper, F
from django.http import QueryDict

from builds.api.answers import seconds
from builds.api.errors import ApiError, FieldError, invalid
from builds.api.parameters import refuse_unknown, single, whole_number
from builds.filters import BuildFilter
from builds.models import Access, Build
from builds.models.build import BuildQuerySet

DEFAULT_LIMIT = 30
MOST_ROWS = 100
DEEPEST_ROW = 10_000
WIDEST_WINDOW = timedelta(days=31)
# "The last 31 days" by a clock that is a little behind ours is still such a window.
_CLOCK_SLACK = timedelta(minutes=5)

_FILTERS = frozenset(BuildFilter.base_filters)
_ALLOWED = _FILTERS | {"ordering", "limit", "page"}
_ORDERINGS = frozenset(
    sign + column for sign in ("", "-") for column in ("created_at", "completed_at", "duration")
)
_COLUMNS = (
    "name",
    "uid",
    "third_party_id",
    "parser_id",
    "status",
    "status_reason",
    "created_at",
    "started_at",
    "completed_at",
    "image_uri",
    "correlation_id",
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page; `limit` is the one that was served."""

    rows: list[dict[str, Any]]
    total: int
    limit: int
    page: int

    @property
    def has_more(self) -> bool:
        """Whether a later page has rows."""
        return self.page * self.limit < self.total


def read_page(query: QueryDict, access: Access) -> Page:
    """The page that the query asks for. One query for the rows, and one for the total unless they tell it.

    Raises ApiError for whatever is not understood.
    """
    refuse_unknown(query, _ALLOWED)
    asked = BuildFilter(query, queryset=Build.objects.visible_to(access))
    errors = [
        FieldError(name, str(message), str(wrong.code or "invalid"))
        for name, found in asked.errors.as_data().items()
        for wrong in found
        for message in wrong.messages
    ]
    limit, page = _number(query, "limit", errors), _number(query, "page", errors)
    ordering = _ordering(query, errors)
    if errors:
        raise invalid(*errors)
    limit = DEFAULT_LIMIT if limit is None else min(limit, MOST_ROWS)
    page = page or 1
    first = (page - 1) * limit
    if first >= DEEPEST_ROW:
        raise ApiError(
            400,
            "page_too_deep",
            f"Pages end at row {DEEPEST_ROW}; narrow the filters, by created_before for instance.",
            errors=[FieldError("page", f"must not begin beyond row {DEEPEST_ROW}", "page_too_deep")],
        )
    _check_ordering(ordering, asked.form.cleaned_data)
    matching: BuildQuerySet = asked.qs
    rows = [_row(values) for values in _ordered(matching, ordering).values(*_COLUMNS)[first : first + limit]]
    is_last = len(rows) < limit and (rows or page == 1)
    total = first + len(rows) if is_last else matching.count()
    return Page(rows=rows, total=total, limit=limit, page=page)


def row_of(build: Build) -> dict[str, Any]:
    """The same keys for one build that is at hand."""
    return _row({column: getattr(build, column) for column in _COLUMNS})


def _row(values: dict[str, Any]) -> dict[str, Any]:
    started_at, completed_at = values["started_at"], values["completed_at"]
    return {
        "id": values["name"],
        "name": values["name"],
        "uid": values["uid"],
        "third_party_id": values["third_party_id"],
        "parser_id": values["parser_id"],
        "status": values["status"],
        "status_reason": values["status_reason"],
        "created_at": values["created_at"],
        "started_at": started_at,
        "completed_at": completed_at,
        "duration": seconds(completed_at - started_at if started_at and completed_at else None),
        "image_uri": values["image_uri"],
        "correlation_id": values["correlation_id"],
    }


def _number(query: QueryDict, name: str, errors: list[FieldError]) -> int | None:
    """None where the parameter is absent or wrong; what is wrong joins errors."""
    try:
        text = single(query, name)
    except ApiError as repeated:
        errors.extend(repeated.errors)
        return None
    if text is None:
        return None
    number = whole_number(text, least=1)
    if number is None:
        span = f"an integer from 1 to {MOST_ROWS}" if name == "limit" else "an integer from 1"
        errors.append(FieldError(name, f"must be {span}"))
    return number


def _ordering(query: QueryDict, errors: list[FieldError]) -> str:
    try:
        ordering = single(query, "ordering")
    except ApiError as repeated:
        errors.extend(repeated.errors)
        ordering = None
    if ordering is not None and ordering not in _ORDERINGS:
        errors.append(FieldError("ordering", f"must be one of {', '.join(sorted(_ORDERINGS))}"))
    return ordering or "-created_at"


def _check_ordering(ordering: str, filters: dict[str, Any]) -> None:
    """What no index holds in order is sorted for a few builds only."""
    if ordering.removeprefix("-") == "created_at" or filters["third_party_id"]:
        return
    after, before = filters["created_after"], filters["created_before"]
    latest = before or datetime.now(UTC) - _CLOCK_SLACK
    if after is None or latest - after > WIDEST_WINDOW:
        needs = "third_party_id, or created_after and created_before at most 31 days apart"
        raise ApiError(
            400,
            "ordering_needs_filter",
            f"This ordering needs {needs}.",
            errors=[FieldError("ordering", f"needs {needs}", "ordering_needs_filter")],
        )


def _ordered(builds: BuildQuerySet, ordering: str) -> BuildQuerySet:
    """Nulls come last both ways, and ties go by row."""
    column = ordering.removeprefix("-")
    is_descending = ordering.startswith("-")
    if column == "created_at":
        return builds.newest_first() if is_descending else builds.order_by("created_at", "pk")
    if column == "duration":
        span = ExpressionWrapper(F("completed_at") - F("started_at"), output_field=DurationField())
        key = span.desc(nulls_last=True) if is_descending else span.asc(nulls_last=True)
    else:
        key = F(column).desc(nulls_last=True) if is_descending else F(column).asc(nulls_last=True)
    return builds.order_by(key, "-pk" if is_descending else "pk")
