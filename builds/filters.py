"""The filters of the list, shared by API and pages; who may see the builds is not decided here."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import QueryDict

from builds.models import Build
from builds.models.build import BuildQuerySet
from builds.states import GROUPS, Status

LONGEST_ID = 253
LONGEST_CORRELATION_ID = 128
LONGEST_SEARCH = 200
MOST_VALUES = 100

# What RFC 3339 and JavaScript's toISOString() write, and a bare day. fromisoformat() takes far more.
_ISO_8601 = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[Tt]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d{2}:\d{2})?)?", re.ASCII
)


class _EveryValue(forms.Widget):
    """All values of a repeated parameter; None where it is absent, which is not the same as empty."""

    def value_from_datadict(self, data: Mapping[str, Any], _files: Any, name: str) -> list[str] | None:
        if name not in data:
            return None
        return data.getlist(name) if isinstance(data, QueryDict) else [str(data[name])]


class _Values(forms.Field):
    """Several words, repeated or separated by commas. An empty one is refused: it is no wish for all."""

    widget = _EveryValue

    def __init__(self, *, longest: int = LONGEST_ID, **_: Any) -> None:
        super().__init__(required=False)
        self.longest = longest

    def clean(self, value: list[str] | None) -> list[str] | None:
        if value is None:
            return None
        words = [word.strip() for part in value for word in part.split(",")]
        if len(words) > MOST_VALUES:
            raise ValidationError(f"must have at most {MOST_VALUES} values", code="invalid")
        for word in words:
            _check_text(word, self.longest)
        return sorted(set(words))


class _Statuses(_Values):
    """The six words, the groups and the alias; the answer is the six words that they stand for."""

    def clean(self, value: list[str] | None) -> list[str] | None:
        words = super().clean(value)
        if words is None:
            return None
        unknown = [word for word in words if word not in Status.values and word not in GROUPS]
        if unknown:
            known = ", ".join([*Status.values, *sorted(GROUPS)])
            raise ValidationError(f"must be one or several of {known}", code="invalid")
        return sorted({status for word in words for status in GROUPS.get(word) or [Status(word)]})


class _One(forms.Field):
    """A single text, as it was sent."""

    widget = _EveryValue

    def __init__(self, *, longest: int = LONGEST_ID, **_: Any) -> None:
        super().__init__(required=False)
        self.longest = longest

    def clean(self, value: list[str] | None) -> Any:
        if value is None:
            return None
        if len(value) > 1:
            raise ValidationError("must be given once", code="repeated")
        _check_text(value[0], self.longest)
        return value[0]


class _Moment(_One):
    """A point in time; without an offset it is UTC."""

    def clean(self, value: list[str] | None) -> Any:
        text = super().clean(value)
        if text is None:
            return None
        try:
            if not _ISO_8601.fullmatch(text):
                raise ValueError
            moment = datetime.fromisoformat(text.upper())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            # Also a + that reached us as a blank, and year 1 or 9999 with an offset out of the calendar.
            raise ValidationError(
                "must be an ISO 8601 time such as 2025-10-29T12:00:00Z, with + written as %2B", code="invalid"
            ) from None


def _check_text(text: str, longest: int) -> None:
    if not text.strip():
        raise ValidationError("must not be empty", code="invalid")
    if len(text) > longest:
        raise ValidationError(f"must have at most {longest} characters", code="invalid")
    if "\x00" in text:
        raise ValidationError("must not contain NUL", code="invalid")


class _ValuesFilter(django_filters.Filter):
    field_class = _Values


class _StatusFilter(django_filters.Filter):
    field_class = _Statuses


class _TextFilter(django_filters.Filter):
    field_class = _One


class _MomentFilter(django_filters.Filter):
    field_class = _Moment


class BuildFilter(django_filters.FilterSet):
    """Bind it to a QueryDict; `form.errors` says what is wrong. A name that it does not know is the caller's
    to refuse: django-filter would pass over it, and show everybody's builds for a mistyped filter."""

    third_party_id = _ValuesFilter(lookup_expr="in")
    parser_id = _ValuesFilter(lookup_expr="in")
    status = _StatusFilter(lookup_expr="in")
    created_after = _MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = _MomentFilter(field_name="created_at", lookup_expr="lt")
    correlation_id = _TextFilter(longest=LONGEST_CORRELATION_ID)
    q = _TextFilter(method="search", longest=LONGEST_SEARCH)

    class Meta:
        model = Build
        fields: list[str] = []

    def search(self, queryset: BuildQuerySet, _name: str, value: str) -> BuildQuerySet:
        """Id, customer, parser, image and error text, in any case."""
        columns = ("name", "third_party_id", "parser_id", "image_uri", "error_message", "error_code")
        wanted = Q()
        for column in columns:
            wanted |= Q(**{f"{column}__icontains": value})
        return queryset.filter(wanted)
