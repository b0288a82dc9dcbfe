"""A build, its state and the only function that changes it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models, transaction
from django.db.models import Case, OuterRef, Q, Subquery, When

from builds.models.access import Access
from builds.models.cluster import NamespaceSync
from builds.models.event import BuildEvent
from builds.models.outgoing import OutgoingEvent
from builds.states import ACTIVE, FINISHED, REASONS, Reason, Status, can_move


class BuildQuerySet(models.QuerySet["Build"]):
    """Adjectives that chain."""

    def visible_to(self, access: Access) -> Self:
        """Those of the caller's customers; builds without a customer are for callers with all of them."""
        if access.third_party_ids is None:
            return self
        return self.filter(third_party_id__in=access.third_party_ids)

    def unfinished(self) -> Self:
        """Those whose outcome is still open."""
        return self.filter(status__in=ACTIVE)

    def with_listed_at(self) -> Self:
        """Annotated with the time of the last complete list of their namespace, for `seen_at`."""
        syncs = NamespaceSync.objects.filter(namespace=OuterRef("namespace"))
        return self.annotate(listed_at=Subquery(syncs.values("listed_at")[:1]))

    def newest_first(self) -> Self:
        """The order of the list, total: ties by order of first sight."""
        return self.order_by("-created_at", "-pk")

    def named(self, name_or_uid: str, namespace: str | None = None) -> "Build | None":
        """The build of that uid, else the newest attempt of that name in the (default) namespace.

        One query, one row. Chain it behind `visible_to`: attempts that the caller may not see do not count.
        """
        named = Q(name=name_or_uid, namespace=namespace or settings.NAMESPACES[0])
        uid_first = Case(When(uid=name_or_uid, then=0), default=1)
        return self.filter(named | Q(uid=name_or_uid)).order_by(uid_first, "-created_at", "-pk").first()

    def attempts_of(self, build: "Build") -> Self:
        """All builds of the same name, namespace and customer, newest first."""
        return self.filter(
            name=build.name, namespace=build.namespace, third_party_id=build.third_party_id
        ).newest_first()


def _reasons_fit() -> Q:
    """Each status with its own reasons, or none."""
    fit = Q(status_reason__isnull=True)
    for status, reasons in sorted(REASONS.items()):
        if reasons:
            fit |= Q(status=status.value, status_reason__in=sorted(reason.value for reason in reasons))
    return fit


class Build(models.Model):
    """One Kubernetes Job that builds one image for one customer's parser; one attempt is one row."""

    namespace = models.CharField(max_length=63)
    name = models.CharField(max_length=253)
    uid = models.CharField(max_length=64, null=True, help_text="The Job's; null until the Job exists.")
    # Fixed at first sight: later label edits are history, not followed.
    third_party_id = models.CharField("customer", max_length=253, null=True)
    parser_id = models.CharField("parser", max_length=253, null=True)
    image_uri = models.TextField(null=True)
    correlation_id = models.CharField(max_length=128, null=True)
    build_container = models.CharField(
        max_length=63, null=True, help_text="The one whose log is the build's."
    )

    status = models.CharField(max_length=16, choices=Status)
    status_reason = models.CharField(max_length=16, choices=Reason, null=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, help_text="First start of a build container.")
    completed_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=64, null=True)
    error_message = models.TextField(null=True)
    error_container = models.CharField(max_length=253, null=True)
    error_exit_code = models.IntegerField(null=True)

    job = models.JSONField(null=True, help_text="The Job and its pods as last seen.")
    observed_at = models.DateTimeField(null=True, help_text="When `job` was seen to change.")
    observed_version = models.BigIntegerField(
        default=0, help_text="The newest resourceVersion in `job`; older sightings are late and dropped."
    )
    missing_since = models.DateTimeField(null=True, help_text="First absence from a complete list.")
    gone_at = models.DateTimeField(null=True, help_text="When the Job was known to be gone.")
    version = models.PositiveBigIntegerField(default=1, help_text="Rises with every change.")

    objects = BuildQuerySet.as_manager()

    class Meta:
        default_permissions = ("add", "view")
        permissions = [("cancel_build", "Can cancel builds")]
        indexes = [
            # The list, and the list of one customer, one parser, one state.
            models.Index(fields=["-created_at", "-id"], name="build_newest"),
            models.Index(fields=["third_party_id", "-created_at", "-id"], name="build_of_customer"),
            models.Index(fields=["parser_id", "-created_at", "-id"], name="build_of_parser"),
            models.Index(fields=["status", "-created_at", "-id"], name="build_in_state"),
            # GET by name, and the attempts of a build.
            models.Index(fields=["name", "namespace", "-created_at"], name="build_named"),
            models.Index(fields=["correlation_id"], name="build_correlated"),
            # The sweepers and the lister look at unfinished builds alone.
            models.Index(
                fields=["namespace", "status"],
                name="build_unfinished",
                condition=Q(status__in=sorted(ACTIVE)),
            ),
            # Jobs that may still come with a list.
            models.Index(fields=["namespace"], name="build_not_gone", condition=Q(gone_at__isnull=True)),
        ]
        constraints = [
            models.UniqueConstraint(fields=["uid"], name="build_uid_is_identity"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="build_status_known"),
            models.CheckConstraint(condition=_reasons_fit(), name="build_reason_fits_status"),
            models.CheckConstraint(
                condition=Q(status__in=sorted(FINISHED), completed_at__isnull=False)
                | Q(status__in=sorted(ACTIVE), completed_at__isnull=True),
                name="build_finished_iff_completed",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_finished(self) -> bool:
        """Whether the outcome can no longer change."""
        return self.status in FINISHED

    @property
    def duration(self) -> timedelta | None:
        """From the first start of a build container to the end; None while either is missing."""
        if self.started_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.started_at

    @property
    def seen_at(self) -> datetime | None:
        """When the cluster was last seen to say what `job` says; needs `with_listed_at`.

        A complete list that came later says of a Job that it contains that nothing has changed.
        """
        listed_at: datetime | None = getattr(self, "listed_at", None)
        is_listed = self.gone_at is None and self.missing_since is None
        if self.observed_at is None or listed_at is None or not is_listed:
            return self.observed_at
        return max(self.observed_at, listed_at)

    def move_to(
        self,
        target: Status,
        *,
        source: str,
        actor: str | None = None,
        reason: Reason | None = None,
        message: str = "",
        correlation_id: str | None = None,
        **changes: Any,
    ) -> BuildEvent | None:
        """Change the state along an edge, with its history row and what goes out, or not at all.

        A conditional UPDATE on the state that this object holds: None, and a refreshed object, if another
        process was first. `changes` are further columns of the same UPDATE. Raises ValueError for an edge
        that does not exist.
        """
        with transaction.atomic():
            event = self.step_to(
                target,
                source=source,
                actor=actor,
                reason=reason,
                message=message,
                correlation_id=correlation_id,
                **changes,
            )
            if event is None:
                return None
            self.refresh_from_db()
            event.save(force_insert=True)
            OutgoingEvent.announce(self, event)
        return event

    def step_to(
        self,
        target: Status,
        *,
        source: str,
        actor: str | None = None,
        reason: Reason | None = None,
        message: str = "",
        correlation_id: str | None = None,
        **changes: Any,
    ) -> BuildEvent | None:
        """The UPDATE of `move_to` alone: the caller saves the event and announces it, before the build's next
        step and in the same transaction. Of what others changed meanwhile this object knows nothing.
        """
        origin = Status(self.status)
        if not can_move(origin, target):
            raise ValueError(f"a build never goes from {origin} to {target}")
        changes |= {"status": target, "status_reason": reason}
        won = Build.objects.filter(pk=self.pk, status=origin).update(
            **changes, version=models.F("version") + 1
        )
        if not won:
            self.refresh_from_db()
            return None
        for name, value in changes.items():
            setattr(self, name, value)
        return BuildEvent(
            build=self,
            type=BuildEvent.Type.TRANSITION,
            reason=target,
            message=message,
            source=source,
            actor=actor,
            from_status=origin,
            to_status=target,
            timestamp=datetime.now(UTC),
            correlation_id=correlation_id or self.correlation_id,
        )
