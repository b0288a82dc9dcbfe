"""The project: settings, URLs, the Celery app, middleware and the start command; wiring only, no domain."""

from buildportal.celery import app as celery_app

__all__ = ["celery_app"]
