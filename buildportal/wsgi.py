"""The WSGI door that gunicorn opens; nothing else belongs here."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "buildportal.settings")

application = get_wsgi_application()
# Imports every view now: else the first request of each process pays half a second for it.
get_resolver().url_patterns  # noqa: B018 - read for what it loads
