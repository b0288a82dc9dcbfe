"""What `make run` calls before the portal starts: database, static files, first login and token."""

import secrets
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone

from buildportal.statedir import write_private
from builds.models import ApiToken, Scope
from builds.models.token import digest_of

ADMIN = "admin"
TOKEN_NAME = "make run"  # noqa: S105 - a label


class Command(BaseCommand):
    help = "Brings database and static files up to date; makes sure of an administrator and of an API token."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder", type=Path, help="where admin_password and api_token are kept, mode 0600"
        )

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=0)
        except OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"The database named by DATABASE_URL cannot be used: {reason}") from error
        call_command("collectstatic", interactive=False, verbosity=0)
        make_sure_of_the_administrator(folder / "admin_password")
        make_sure_of_the_token(folder / "api_token")


def make_sure_of_the_administrator(password_file: Path) -> None:
    """An administrator who is there stays as they are, whatever the file says."""
    people = get_user_model()
    if people.objects.filter(username=ADMIN).exists():
        return
    password = password_file.read_text().strip() if password_file.exists() else secrets.token_urlsafe(15)
    write_private(password_file, password)
    people.objects.create_superuser(ADMIN, password=password)


def make_sure_of_the_token(token_file: Path) -> None:
    """The token of the last start goes on as long as it is valid; else there is a new one."""
    kept = token_file.read_text().strip() if token_file.exists() else ""
    still_valid = ApiToken.objects.filter(digest=digest_of(kept), revoked_at=None).exclude(
        expires_at__lte=timezone.now()
    )
    if kept and still_valid.exists():
        return
    _, secret = ApiToken.issue(name=TOKEN_NAME, scopes=Scope.values, all_customers=True)
    write_private(token_file, secret)
