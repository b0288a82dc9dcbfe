"""The paths of the pages; a build is found by its Job's uid, or by its name."""

from django.urls import path

from builds.console import views

app_name = "console"

urlpatterns = [
    path("", views.list_builds, name="builds"),
    path("builds/<str:key>", views.show_build, name="build"),
    path("builds/<str:key>/cancel", views.cancel_build, name="cancel"),
    path("sign-in", views.SignInView.as_view(), name="sign_in"),
    path("sign-out", views.SignOutView.as_view(), name="sign_out"),
]
