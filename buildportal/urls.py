"""Every path of the portal: the pages, the admin, and the API, which has no prefix."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

# Nothing is changed by a redirect, so a POST gets its 405 and not a word about CSRF.
to_pages = csrf_exempt(require_safe(RedirectView.as_view(pattern_name="console:builds")))
to_admin = csrf_exempt(require_safe(RedirectView.as_view(pattern_name="admin:index")))

urlpatterns: list[URLPattern | URLResolver] = [
    path("", to_pages),
    path("console", to_pages),
    path("console/", include("builds.console.urls")),
    path("admin", to_admin),
    path("admin/", admin.site.urls),
    path("", include("builds.api.urls")),
]
