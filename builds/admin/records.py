"""History, sync and outgoing events as they stand; nothing can be changed here."""

import json

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from builds.admin.readonly import ReadOnlyAdmin
from builds.models import BuildEvent, NamespaceSync, OutgoingEvent, WatchLease
from builds.templatetags.foreign_text import harmless
from builds.templatetags.moments import clock
from builds.templatetags.wording import status_badge


def build_link(row: BuildEvent | OutgoingEvent) -> SafeString:
    """The build of the row, which came with the row's query."""
    return format_html(
        '<a href="{}">{}</a>',
        reverse("admin:builds_build_change", args=[row.build_id]),
        harmless(row.build.name),
    )


class BuildEventAdmin(ReadOnlyAdmin):
    """Every change of every build."""

    list_display = ["at", "build_name", "what", "message_text", "source", "actor"]
    list_filter = ["type", "to_status", "timestamp"]
    search_fields = ["build__name", "actor", "correlation_id"]
    search_help_text = "Name of the build, person or token, correlation id"
    list_select_related = ["build"]
    ordering = ("-pk",)
    fields = [
        "build_name",
        "at",
        "what",
        "from_status",
        "message_text",
        "source",
        "actor",
        "count",
        "correlation_id",
        "cluster_uid",
    ]
    readonly_fields = ["build_name", "at", "what", "message_text"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[BuildEvent]:
        events: QuerySet[BuildEvent] = (
            super().get_queryset(request).select_related("build").defer("build__job")
        )
        return events

    @admin.display(description="When")
    def at(self, event: BuildEvent) -> SafeString | str:
        return clock(event.timestamp)

    @admin.display(description="Build")
    def build_name(self, event: BuildEvent) -> SafeString:
        return build_link(event)

    @admin.display(description="What")
    def what(self, event: BuildEvent) -> SafeString | str:
        return status_badge(event.to_status) if event.to_status else harmless(event.reason)

    @admin.display(description="Message")
    def message_text(self, event: BuildEvent) -> str:
        return harmless(event.message)


class NamespaceSyncAdmin(ReadOnlyAdmin):
    """How fresh the picture of each namespace is."""

    list_display = ["namespace", "listed_at", "watched_at", "failed_at", "last_error_text", "alarm"]
    fields = [
        "namespace",
        "listed_at",
        "listed_version",
        "watched_at",
        "failed_at",
        "last_error_text",
        "alarm",
    ]
    readonly_fields = ["last_error_text"]
    ordering = ("namespace",)

    @admin.display(description="Last error")
    def last_error_text(self, row: NamespaceSync) -> str:
        return harmless(row.last_error) or "\N{EN DASH}"


class WatchLeaseAdmin(ReadOnlyAdmin):
    """Which of the watchers leads."""

    list_display = ["leader", "fence", "taken_at", "expires_at"]
    fields = ["leader", "fence", "taken_at", "expires_at"]
    readonly_fields = ["leader"]
    ordering = ("pk",)

    @admin.display(description="Leader")
    def leader(self, row: WatchLease) -> str:
        return harmless(row.holder) or "\N{EN DASH}"


class OutgoingEventAdmin(ReadOnlyAdmin):
    """What is told to the event sink, and what still waits."""

    list_display = ["time", "type", "build_name", "sent_at", "tries", "next_try_at", "last_error_text"]
    list_filter = [("sent_at", admin.EmptyFieldListFilter), "time"]
    search_fields = ["=id", "subject"]
    list_select_related = ["build"]
    ordering = ("-position",)
    fields = [
        "id",
        "build_name",
        "type",
        "source",
        "subject",
        "time",
        "extensions_text",
        "data_text",
        "tries",
        "next_try_at",
        "last_error_text",
        "sent_at",
    ]
    readonly_fields = ["build_name", "extensions_text", "data_text", "last_error_text"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutgoingEvent]:
        events: QuerySet[OutgoingEvent] = super().get_queryset(request)
        return events.select_related("build").defer("build__job")

    @admin.display(description="Build")
    def build_name(self, event: OutgoingEvent) -> SafeString:
        return build_link(event)

    @admin.display(description="Extensions")
    def extensions_text(self, event: OutgoingEvent) -> SafeString:
        return pretty_json(event.extensions)

    @admin.display(description="Data")
    def data_text(self, event: OutgoingEvent) -> SafeString:
        return pretty_json(event.data)

    @admin.display(description="Last error")
    def last_error_text(self, event: OutgoingEvent) -> str:
        return harmless(event.last_error) or "\N{EN DASH}"


def pretty_json(value: object) -> SafeString:
    """JSON to read, escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="json">{}</pre>', harmless(text))
