"""Builds for staff: to look at, to search and, with the permission, to cancel after being asked why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from builds import actions
from builds.actions import CancelAnswer, CancelOutcome
from builds.admin.readonly import ReadOnly, ReadOnlyAdmin
from builds.admin.records import pretty_json
from builds.models import Access, Build, BuildEvent
from builds.states import CANCELLABLE, Reason, Status
from builds.templatetags.foreign_text import harmless
from builds.templatetags.moments import clock, elapsed
from builds.templatetags.wording import reason_label, status_badge, status_label

CANCEL_AT_ONCE = 100


class CancelForm(forms.Form):
    """Why; it is kept with each build."""

    reason = forms.CharField(
        max_length=500,
        help_text="At most 500 characters; kept with each build.",
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80, "maxlength": 500}),
    )


@dataclass(frozen=True, slots=True)
class CancelResult:
    """What came of one of the chosen builds; `level` is success, info or warning."""

    build: Build
    level: str
    words: str


def result_of(answer: CancelAnswer) -> CancelResult:
    """An answer in words."""
    build = answer.build
    if answer.outcome is CancelOutcome.ALREADY_FINISHED:
        return CancelResult(
            build, "warning", f"Nothing to cancel: it had {status_label(build.status).lower()}."
        )
    if answer.outcome is CancelOutcome.ALREADY_CANCELLING:
        return CancelResult(build, "info", "It was being cancelled already.")
    if build.status == Status.CANCELLED:
        return CancelResult(build, "success", "Cancelled; the Job is gone from the cluster.")
    if build.status == Status.CANCELLING:
        return CancelResult(build, "info", "Cancelling; it is carried out as soon as the cluster answers.")
    return CancelResult(build, "warning", f"The Job finished first: {status_label(build.status).lower()}.")


class NamespaceFilter(admin.SimpleListFilter):
    """The configured namespaces; to ask the table for them would read all of it."""

    title = "namespace"
    parameter_name = "namespace"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in settings.NAMESPACES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Build]) -> QuerySet[Build]:
        return queryset.filter(namespace=self.value()) if self.value() in settings.NAMESPACES else queryset


class ReasonFilter(admin.SimpleListFilter):
    """The status reasons in the words of the badges."""

    title = "reason"
    parameter_name = "status_reason"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(reason.value, reason_label(reason)) for reason in Reason]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Build]) -> QuerySet[Build]:
        return queryset.filter(status_reason=self.value()) if self.value() in Reason.values else queryset


class BuildEventInline(ReadOnly, admin.TabularInline):
    """The history under its build."""

    model = BuildEvent
    verbose_name_plural = "history"
    ordering = ("timestamp", "pk")
    fields = ["at", "what", "message_text", "source", "actor", "count"]
    readonly_fields = ["at", "what", "message_text"]
    extra = 0

    @admin.display(description="When")
    def at(self, event: BuildEvent) -> SafeString | str:
        return clock(event.timestamp)

    @admin.display(description="What")
    def what(self, event: BuildEvent) -> SafeString | str:
        return status_badge(event.to_status) if event.to_status else harmless(event.reason)

    @admin.display(description="Message")
    def message_text(self, event: BuildEvent) -> str:
        return harmless(event.message)


_TIMES = ("created", "started", "ended", "seen", "gone")


class BuildAdmin(ReadOnlyAdmin):
    """The list, one build, and the way to cancel: choose, read, say why, see what came of it."""

    list_display = ["name_text", "badge", "third_party_id", "parser_id", "created", "took"]
    list_filter = ["status", ReasonFilter, "created_at", NamespaceFilter]
    search_fields = ["name", "=uid", "third_party_id", "parser_id", "=correlation_id"]
    search_help_text = "Name, customer, parser, or exactly: uid, correlation id"
    ordering = ("-created_at", "-pk")
    actions = ["cancel_chosen"]
    inlines = [BuildEventInline]
    readonly_fields = ["name_text", "badge", "took", "error_text", "image_text", "job_text", *_TIMES]
    fieldsets = [
        (None, {"fields": ["name_text", "badge", "error_text", "error_code", "error_exit_code"]}),
        ("Whose", {"fields": ["third_party_id", "parser_id", "image_text", "correlation_id"]}),
        ("When", {"fields": ["created", "started", "ended", "took"]}),
        ("In the cluster", {"fields": ["namespace", "uid", "seen", "gone", "job_text"]}),
    ]

    # --- Columns ---

    @admin.display(description="Build", ordering="name")
    def name_text(self, build: Build) -> str:
        return harmless(build.name)

    @admin.display(description="Status")
    def badge(self, build: Build) -> SafeString:
        if build.status_reason is None:
            return status_badge(build.status)
        reason = reason_label(build.status_reason)
        return format_html('{}<span class="status-reason">{}</span>', status_badge(build.status), reason)

    @admin.display(description="Created")
    def created(self, build: Build) -> SafeString | str:
        return clock(build.created_at)

    @admin.display(description="Started")
    def started(self, build: Build) -> SafeString | str:
        return clock(build.started_at)

    @admin.display(description="Ended")
    def ended(self, build: Build) -> SafeString | str:
        return clock(build.completed_at)

    @admin.display(description="Last change seen")
    def seen(self, build: Build) -> SafeString | str:
        return clock(build.observed_at)

    @admin.display(description="Job gone")
    def gone(self, build: Build) -> SafeString | str:
        return clock(build.gone_at)

    @admin.display(description="Duration")
    def took(self, build: Build) -> SafeString | str:
        return elapsed(build.started_at, build.completed_at)

    @admin.display(description="Error")
    def error_text(self, build: Build) -> str:
        return harmless(build.error_message) or "\N{EN DASH}"

    @admin.display(description="Image")
    def image_text(self, build: Build) -> str:
        return harmless(build.image_uri) or "\N{EN DASH}"

    @admin.display(description="Job and pods")
    def job_text(self, build: Build) -> SafeString:
        return pretty_json(build.job)

    # --- Cancelling ---

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """What Django's `permissions=["cancel"]` asks."""
        return bool(request.user.has_perm("builds.cancel_build"))

    @admin.action(description="Cancel the chosen builds …", permissions=["cancel"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Build]) -> HttpResponse | None:
        """Go to the page that asks; nothing is cancelled yet."""
        chosen = list(queryset.order_by("-pk").values_list("pk", flat=True)[: CANCEL_AT_ONCE + 1])
        if len(chosen) > CANCEL_AT_ONCE:
            text = f"Choose at most {CANCEL_AT_ONCE} builds at once. Nothing was cancelled."
            self.message_user(request, text, messages.ERROR)
            return None
        return HttpResponseRedirect(
            f"{reverse('admin:builds_build_cancel')}?{urlencode({'id': chosen}, doseq=True)}"
        )

    def get_urls(self) -> list[URLPattern]:
        confirm = self.admin_site.admin_view(self.cancel_view)
        own: list[URLPattern] = [path("cancel/", confirm, name="builds_build_cancel")]
        return own + super().get_urls()

    def cancel_view(self, request: HttpRequest) -> HttpResponse:
        """GET lists exactly the chosen builds and asks why; POST cancels and says what came of each."""
        if not (self.has_view_permission(request) and self.has_cancel_permission(request)):
            raise PermissionDenied("Your account may not cancel builds.")
        chosen = self._chosen(request)
        form = CancelForm(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            return self._cancel(request, chosen, form.cleaned_data["reason"])
        context = {
            **self.admin_site.each_context(request),
            "title": "Cancel builds",
            "opts": self.opts,
            "form": form,
            "chosen": chosen,
            "to_cancel": [build for build in chosen if build.status in CANCELLABLE],
            "left_alone": [build for build in chosen if build.status not in CANCELLABLE],
        }
        return TemplateResponse(
            request, "admin/builds/build/cancel.html", context, status=400 if form.errors else 200
        )

    def _chosen(self, request: HttpRequest) -> list[Build]:
        """The builds named in the request, in its order. One query."""
        given = (request.POST if request.method == "POST" else request.GET).getlist("id")
        ids = [int(text) for text in given if text.isascii() and text.isdigit() and len(text) < 19]
        if not ids or len(ids) != len(given) or len(ids) > CANCEL_AT_ONCE:
            raise Http404("No such choice of builds.")
        found = Build.objects.defer("job").in_bulk(ids)
        if len(found) != len(set(ids)):
            raise Http404("One of the chosen builds does not exist.")
        return [found[number] for number in dict.fromkeys(ids)]

    def _cancel(self, request: HttpRequest, chosen: Sequence[Build], reason: str) -> HttpResponse:
        access = Access.of_user(request.user)
        # Waiting for the cluster is for one build; many are on their way together.
        wait_s = None if len(chosen) == 1 else 0
        results = [
            result_of(actions.cancel(build, by=access, reason=reason, source="admin", wait_s=wait_s))
            for build in chosen
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": "What came of it",
            "opts": self.opts,
            "results": results,
            "reason": reason,
        }
        return TemplateResponse(request, "admin/builds/build/cancel_result.html", context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        build = kwargs.get("obj")
        context["may_cancel"] = bool(
            isinstance(build, Build) and build.status in CANCELLABLE and self.has_cancel_permission(request)
        )
        return super().render_change_form(request, context, *args, **kwargs)
