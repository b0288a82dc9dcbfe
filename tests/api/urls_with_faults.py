"""The portal's paths, and views that fail in ways that no request can provoke."""

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from rest_framework.request import Request

from buildportal.urls import urlpatterns as real
from builds.api.views import ApiView

SECRET = "/srv/secret.py: SELECT password FROM db-7.internal"
FAILURES = {
    "fault": RuntimeError(SECRET),
    "database": OperationalError(SECRET),
    "absent": Http404(SECRET),
    "denied": PermissionDenied(SECRET),
    "suspicious": SuspiciousOperation(SECRET),
}


class OpenView(ApiView):
    """Fails as a view of the API does."""

    authentication_classes = ()
    permission_classes = ()

    def get(self, _request: Request, failure: str) -> HttpResponse:
        raise FAILURES[failure]


def plain(request: HttpRequest, failure: str) -> HttpResponse:
    """Fails as a view of Django's does."""
    raise FAILURES[failure]


urlpatterns = [
    path("api-view/<str:failure>", OpenView.as_view()),
    path("plain/<str:failure>", plain),
    path("console/broken/<str:failure>", plain),
    *real,
]
