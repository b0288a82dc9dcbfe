"""The WSGI door that gunicorn opens; nothing else belongs here."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "buildportal.settings")

application = get_wsgi_application()
