"""Who may see the pages; it decides, and shows nothing but a refusal."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers
from django_htmx.http import HttpResponseClientRedirect

P = ParamSpec("P")
Page = Callable[Concatenate[HttpRequest, P], HttpResponse]


def is_refresh(request: HttpRequest) -> bool:
    """Whether htmx asks for the moving part of a page only."""
    return request.headers.get("HX-Request") == "true" and "HX-History-Restore-Request" not in request.headers


def for_viewers(page: Page[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Let signed-in people with `view_build` in; the others sign in, or get the 403 page.

    A refresh whose session has ended makes the browser sign in, not the sign-in form land in the list.
    """

    @wraps(page)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        answer: HttpResponseBase
        if not request.user.is_authenticated:
            if is_refresh(request):
                answer = HttpResponseClientRedirect(resolve_url(settings.LOGIN_URL))
            else:
                answer = redirect_to_login(request.get_full_path())
        elif not request.user.has_perm("builds.view_build"):
            raise PermissionDenied("Your account may not look at builds.")
        else:
            answer = page(request, *args, **kwargs)
        answer.headers["Cache-Control"] = "private, no-store"
        patch_vary_headers(answer, ["HX-Request", "Cookie"])
        return answer

    return guarded
