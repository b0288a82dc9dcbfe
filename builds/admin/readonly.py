"""Admin pages on which nothing can be added, changed or deleted."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest


class ReadOnly:
    """The three refusals, for pages and inlines; who may look is decided by the view permission."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """Records as they stand. The unfiltered count is not asked for: it costs a walk through the table."""

    show_full_result_count = False
    # Nor are the counts beside each filter, which would be a query each.
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200
    # A sort by a column without an index would read and sort the whole table.
    sortable_by = ()
