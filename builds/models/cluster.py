"""What is known of the cluster itself: which one it is, and how fresh the picture of it is."""

from django.db import models


class ClusterBinding(models.Model):
    """The one cluster that this database records, told by the uid of its namespace kube-system."""

    cluster_uid = models.CharField(max_length=64)
    bound_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=models.Q(pk=1), name="binding_is_single"),
        ]

    def __str__(self) -> str:
        return self.cluster_uid


class NamespaceSync(models.Model):
    """How the picture of one namespace was last brought up to date, and what is wrong with it."""

    namespace = models.CharField(max_length=63, unique=True)
    listed_at = models.DateTimeField(null=True, help_text="The last complete list.")
    listed_version = models.BigIntegerField(default=0)
    watched_at = models.DateTimeField(null=True, help_text="The last sign of life of a connected watch.")
    failed_at = models.DateTimeField(
        null=True, help_text="The last failed call; older than listed_at: all is well."
    )
    last_error = models.TextField(blank=True)
    watch_restarts = models.PositiveBigIntegerField(
        default=0, help_text="How often a watch had to be begun anew after something had gone wrong."
    )
    troubles = models.PositiveBigIntegerField(
        default=0, help_text="How often something went wrong that lasted, each outage counted once."
    )
    alarm = models.TextField(blank=True, help_text="Set while too many builds are missing at once.")

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.namespace


class WatchLease(models.Model):
    """Which process follows the watches: one row, changed by the conditional UPDATEs of `lease.py` alone."""

    holder = models.CharField(max_length=128, blank=True, help_text="Who leads; empty: nobody.")
    fence = models.PositiveBigIntegerField(
        default=0, help_text="Rises with every change of leader: tells a term from all before it."
    )
    taken_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True, help_text="By the database's clock.")

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(condition=models.Q(pk=1), name="lease_is_single"),
        ]

    def __str__(self) -> str:
        return self.holder or "nobody"
