"""The app's registration with Django."""

from django.apps import AppConfig


class BuildsConfig(AppConfig):
    name = "builds"
    verbose_name = "Container-image builds"
