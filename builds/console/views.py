"""What each page shows and does; state is changed by `builds.actions` alone."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import LoginView, LogoutView
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HTMX_STOP_POLLING, HttpResponseClientRedirect

from builds import actions
from builds.actions import CancelAnswer, CancelOutcome
from builds.console.access import for_viewers, is_refresh
from builds.console.building import build_page, is_settled
from builds.console.forms import CancelForm, SignInForm
from builds.console.freshness import current_freshness
from builds.console.listing import build_list
from builds.models import Access, Build
from builds.states import CANCELLABLE, Status
from builds.templatetags.wording import status_label


class SignInView(LoginView):
    """The way in; whoever is in already goes on to the builds."""

    template_name = "console/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True


class SignOutView(LogoutView):
    """The way out; a POST, so that no link or image signs anybody out."""


@require_safe
@for_viewers
def list_builds(request: HttpRequest) -> HttpResponse:
    """The builds that match the filters in the URL; for a refresh, the moving part alone."""
    found = build_list(request.GET)
    template = "console/_results.html" if is_refresh(request) else "console/builds.html"
    context = {"found": found, "freshness": current_freshness()}
    return render(request, template, context, status=400 if found.errors else 200)


@require_safe
@for_viewers
def show_build(request: HttpRequest, key: str) -> HttpResponse:
    """One build; for a refresh, the moving part alone, and word to stop once nothing will move."""
    build = _build_or_404(request, key)
    access = Access.of_user(request.user)
    context = {"page": build_page(build, access), "freshness": current_freshness()}
    if is_refresh(request):
        status = HTMX_STOP_POLLING if is_settled(build) else 200
        return render(request, "console/_build.html", context, status=status)
    return render(request, "console/build.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_viewers
def cancel_build(request: HttpRequest, key: str) -> HttpResponse:
    """Ask why (GET), then cancel (POST). A build that finished meanwhile is explained, with 409."""
    build = _build_or_404(request, key)
    if not request.user.has_perm("builds.cancel_build"):
        raise PermissionDenied("Your account may look at builds, but not cancel them.")
    if build.status not in CANCELLABLE and is_refresh(request):
        # The dialog was asked for a moment too late: the whole page says why.
        return HttpResponseClientRedirect(request.path)
    if build.is_finished:
        return _refuse(request, build)
    if build.status == Status.CANCELLING:
        return _already_cancelling(request, build)
    form = CancelForm(request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        template = "console/_cancel_form.html" if is_refresh(request) else "console/cancel.html"
        status = 400 if form.is_bound else 200
        return render(request, template, {"build": build, "form": form}, status=status)
    answer = actions.cancel(
        build, by=Access.of_user(request.user), reason=form.cleaned_data["reason"], source="console"
    )
    if answer.outcome is CancelOutcome.ALREADY_FINISHED:
        return _refuse(request, answer.build)
    if answer.outcome is CancelOutcome.ALREADY_CANCELLING:
        return _already_cancelling(request, answer.build)
    _tell(request, answer)
    return redirect("console:build", key=build.uid or build.name)


def _build_or_404(request: HttpRequest, key: str) -> Build:
    """The build of that uid or name, with its log and cancellation. One query."""
    namespace = request.GET.get("namespace")
    if "\x00" in key or "\x00" in (namespace or ""):
        raise Http404("No build has such a name.")
    visible = Build.objects.visible_to(Access.of_user(request.user))
    build = visible.select_related("log", "cancellation").with_listed_at().named(key, namespace)
    if build is None:
        raise Http404(f"There is no build {key} in {namespace or settings.NAMESPACES[0]}.")
    return build


def _refuse(request: HttpRequest, build: Build) -> HttpResponse:
    """Nothing was cancelled, and why."""
    status = 200 if request.method == "GET" else 409
    return render(request, "console/cancel_refused.html", {"build": build}, status=status)


def _already_cancelling(request: HttpRequest, build: Build) -> HttpResponse:
    """Somebody was first, perhaps the same person's double click."""
    messages.info(request, "This build is being cancelled already; the first reason given stands.")
    return redirect("console:build", key=build.uid or build.name)


def _tell(request: HttpRequest, answer: CancelAnswer) -> None:
    """Put what came of the wish on top of the next page."""
    status = answer.build.status
    if status == Status.CANCELLED:
        messages.success(request, "Cancelled. The Job is gone from the cluster.")
    elif status == Status.CANCELLING:
        messages.info(
            request, "Cancelling. The wish is stored and is carried out as soon as the cluster answers."
        )
    else:
        messages.warning(request, f"The Job had finished first: the build {status_label(status).lower()}.")
