"""The API's paths: no version prefix, no trailing slash."""

from django.urls import path

from builds.api import health, views

urlpatterns = [
    path("builds", views.BuildListView.as_view(), name="api-builds"),
    path("builds/<str:key>", views.BuildView.as_view(), name="api-build"),
    path("builds/<str:key>/cancel", views.CancelView.as_view(), name="api-cancel"),
    path("async-jobs/stats", views.StatsView.as_view(), name="api-stats"),
    path("healthz", health.HealthView.as_view(), name="healthz"),
    path("readyz", health.ReadyView.as_view(), name="readyz"),
]
