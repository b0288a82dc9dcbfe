"""API tokens for staff: issue one, whose secret is shown once, and revoke; a token is never edited."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from builds.admin.readonly import ReadOnlyAdmin
from builds.models import ApiToken, Scope


class TokenForm(forms.Form):
    """What a new token is allowed, and for whom."""

    name = forms.CharField(max_length=100, help_text="Which program it is for; history rows name it.")
    scopes = forms.MultipleChoiceField(choices=Scope, widget=forms.CheckboxSelectMultiple)
    all_customers = forms.BooleanField(required=False, label="All customers")
    customers = forms.CharField(
        required=False,
        help_text="Or these customers only, separated by commas or spaces.",
        widget=forms.Textarea(attrs={"rows": 2, "cols": 60}),
    )
    expires_at = forms.DateTimeField(required=False, help_text="UTC, as 2030-12-31 23:59; empty: never.")

    def clean_customers(self) -> list[str]:
        return sorted(set(self.cleaned_data["customers"].replace(",", " ").split()))

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError("This moment is over already.")
        return expires_at

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("all_customers") and cleaned.get("customers"):
            self.add_error("customers", "Choose either all customers or some of them.")
        elif not self.errors and not cleaned.get("all_customers") and not cleaned.get("customers"):
            self.add_error("customers", "Without a customer the token would see nothing.")
        return cleaned


class ApiTokenAdmin(ReadOnlyAdmin):
    """The tokens; the digest of a secret is of no use to anybody and not shown."""

    list_display = [
        "name",
        "state",
        "scope_list",
        "customer_list",
        "created_at",
        "expires_at",
        "last_used_at",
    ]
    list_select_related = ["user"]
    search_fields = ["name"]
    actions = ["revoke_chosen"]
    fields = [
        "name",
        "state",
        "scope_list",
        "customer_list",
        "user",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    ]
    readonly_fields = ["state", "scope_list", "customer_list"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("builds.add_apitoken"))

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """What Django's `permissions=["revoke"]` asks."""
        return bool(request.user.has_perm("builds.change_apitoken"))

    @admin.display(description="State")
    def state(self, token: ApiToken) -> str:
        if token.revoked_at is not None:
            return "revoked"
        return "valid" if token.is_valid else "expired"

    @admin.display(description="Scopes")
    def scope_list(self, token: ApiToken) -> str:
        return ", ".join(token.scopes) or "none"

    @admin.display(description="Customers")
    def customer_list(self, token: ApiToken) -> str:
        return "all" if token.all_customers else ", ".join(token.third_party_ids) or "none"

    @admin.action(description="Revoke the chosen tokens", permissions=["revoke"])
    def revoke_chosen(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """At once; a token that was revoked before keeps its time."""
        chosen = list(queryset.filter(revoked_at__isnull=True))
        revoked = queryset.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())
        for token in chosen:
            self.log_change(request, token, "Revoked.")
        self.message_user(request, f"Revoked: {revoked}.", messages.SUCCESS)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Issue a token; its secret is in this one answer and nowhere else."""
        if not self.has_add_permission(request):
            raise PermissionDenied("Your account may not issue tokens.")
        form = TokenForm(request.POST if request.method == "POST" else None)
        context = {
            **self.admin_site.each_context(request),
            "title": "Issue an API token",
            "opts": self.opts,
            "form": form,
        }
        template = "admin/builds/apitoken/issue.html"
        if form.is_bound and form.is_valid():
            token, context["secret"] = ApiToken.issue(
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                all_customers=form.cleaned_data["all_customers"],
                third_party_ids=form.cleaned_data["customers"],
                expires_at=form.cleaned_data["expires_at"],
            )
            self.log_addition(request, token, "Issued.")
            context |= {"title": "The token is issued", "token": token}
            template = "admin/builds/apitoken/issued.html"
        return TemplateResponse(request, template, context)
