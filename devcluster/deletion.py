"""Deletes objects as the API server does, and collects what they leave behind; plays no controller."""

import asyncio
from dataclasses import dataclass

from devcluster import clock, errors
from devcluster.errors import Cause
from devcluster.objects import (
    JOB_TRACKING,
    Obj,
    is_being_deleted,
    is_finished_pod,
    name_of,
    namespace_of,
    uid_of,
    with_metadata,
    without_finalizer,
)
from devcluster.resources import STORED
from devcluster.store import Change, Store

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
POLICIES = ("Foreground", "Background", "Orphan")
# How long the garbage collector takes to act on what it sees.
COLLECTION_DELAY_S = 0.02


@dataclass(frozen=True)
class DeleteOptions:
    propagation: str | None = None
    grace_s: int | None = None
    uid: str | None = None
    version: str | None = None
    is_dry_run: bool = False

    def check(self) -> None:
        """Raises the 422 of an unknown policy."""
        if self.propagation is not None and self.propagation not in POLICIES:
            supported = '"Foreground", "Background", "Orphan", "nil"'
            message = f'Unsupported value: "{self.propagation}": supported values: {supported}'
            cause = Cause("FieldValueNotSupported", message, "propagationPolicy")
            raise errors.invalid_options("DeleteOptions", cause)


@dataclass(frozen=True)
class Deleted:
    """`is_gone`: nothing of it is left. The object as it was, or as it is now."""

    obj: Obj
    is_gone: bool


class Deletion:
    """DELETE and the garbage collector. Everything is done in the store; controllers see the changes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def start(self) -> None:
        self._store.subscribe(self._on_change)
        loop = asyncio.get_running_loop()
        for job in self._store.items("jobs"):
            if is_being_deleted(job):
                loop.call_later(COLLECTION_DELAY_S, self._collect, job)
        for pod in self._store.items("pods"):
            loop.call_later(COLLECTION_DELAY_S, self._collect_if_ownerless, pod)

    def delete(self, resource: str, obj: Obj, options: DeleteOptions) -> Deleted:
        """Raises the 409 of a precondition."""
        options.check()
        self._check_preconditions(resource, obj, options)
        if resource == "pods":
            return self._delete_pod(obj, options)
        marked = _marked(obj, _finalizers_after(resource, obj, options))
        if not marked["metadata"].get("finalizers"):
            return Deleted(obj if options.is_dry_run else self._store.remove(resource, obj), True)
        return Deleted(marked if options.is_dry_run else self._store.update(resource, marked), False)

    def confirm_pod_end(self, pod: Obj) -> None:
        """The kubelet's last word: no grace is left, and the pod goes unless a finalizer holds it."""
        if not is_being_deleted(pod):
            return
        gone_at = clock.stamp(clock.now())
        pod = with_metadata(pod, deletionGracePeriodSeconds=0, deletionTimestamp=gone_at)
        pod = self._store.update("pods", pod)
        if not pod["metadata"].get("finalizers"):
            self._store.remove("pods", pod)

    def _delete_pod(self, pod: Obj, options: DeleteOptions) -> Deleted:
        metadata = pod["metadata"]
        default_s = pod["spec"].get("terminationGracePeriodSeconds", 30)
        grace_s = default_s if options.grace_s is None else max(0, options.grace_s)
        if "nodeName" not in pod["spec"] or is_finished_pod(pod):
            grace_s = 0
        if is_being_deleted(pod) and grace_s >= metadata.get("deletionGracePeriodSeconds", 0) and grace_s:
            return Deleted(pod, False)
        marked = with_metadata(
            pod,
            deletionTimestamp=clock.stamp(clock.now() + grace_s),
            deletionGracePeriodSeconds=grace_s,
            generation=metadata["generation"] + (0 if is_being_deleted(pod) else 1),
        )
        if options.is_dry_run:
            return Deleted(marked, False)
        marked = self._store.update("pods", marked)
        if grace_s == 0 and not metadata.get("finalizers"):
            return Deleted(self._store.remove("pods", marked), True)
        return Deleted(marked, False)

    def _check_preconditions(self, resource: str, obj: Obj, options: DeleteOptions) -> None:
        name, version = name_of(obj), obj["metadata"]["resourceVersion"]
        if options.uid is not None and options.uid != uid_of(obj):
            explanation = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record "
                f"({uid_of(obj)}). The object might have been deleted and then recreated"
            )
            raise errors.precondition_failed(STORED[resource], name, explanation)
        if options.version is not None and options.version != version:
            explanation = (
                f"the ResourceVersion in the precondition ({options.version}) does not match the "
                f"ResourceVersion in record ({version}). The object might have been modified"
            )
            raise errors.precondition_failed(STORED[resource], name, explanation)

    # The garbage collector.

    def _on_change(self, change: Change) -> None:
        loop = asyncio.get_running_loop()
        if change.resource == "jobs":
            if change.type == "DELETED" or is_being_deleted(change.obj):
                loop.call_later(COLLECTION_DELAY_S, self._collect, change.obj)
        elif change.resource == "pods" and change.type == "DELETED":
            for owner in change.obj["metadata"].get("ownerReferences", []):
                loop.call_later(COLLECTION_DELAY_S / 2, self._release, change.obj, owner)
        elif change.resource == "pods" and change.type == "ADDED":
            loop.call_later(COLLECTION_DELAY_S, self._collect_if_ownerless, change.obj)

    def _collect(self, job: Obj) -> None:
        current = self._current("jobs", job)
        finalizers = current["metadata"].get("finalizers", []) if current else []
        dependents = self._store.owned_pods(uid_of(job))
        if current is None:
            for pod in dependents:
                self._delete_pod(pod, DeleteOptions())
        elif ORPHAN in finalizers:
            for pod in dependents:
                self._store.update("pods", _without_owner(pod, uid_of(job)))
            # The job controller takes its finalizer from the orphans before the Job goes.
            asyncio.get_running_loop().call_later(COLLECTION_DELAY_S, self._end_orphaning, job)
        elif FOREGROUND in finalizers:
            for pod in dependents:
                if not is_being_deleted(pod):
                    self._delete_pod(pod, DeleteOptions())
            if not self._store.owned_pods(uid_of(job)):
                self._store.update("jobs", without_finalizer(current, FOREGROUND))

    def _end_orphaning(self, job: Obj) -> None:
        current = self._current("jobs", job)
        if current is not None and ORPHAN in current["metadata"].get("finalizers", []):
            self._store.update("jobs", without_finalizer(current, ORPHAN))

    def _release(self, pod: Obj, owner: Obj) -> None:
        """A Job that waits in the foreground goes when its last pod is gone."""
        job = self._store.get("jobs", namespace_of(pod), owner["name"])
        if job is None or uid_of(job) != owner["uid"] or self._store.owned_pods(owner["uid"]):
            return
        if is_being_deleted(job) and FOREGROUND in job["metadata"].get("finalizers", []):
            self._store.update("jobs", without_finalizer(job, FOREGROUND))

    def _collect_if_ownerless(self, pod: Obj) -> None:
        current = self._current("pods", pod)
        if current is None or is_being_deleted(current):
            return
        owners = current["metadata"].get("ownerReferences", [])
        if owners and not any(self._owner_lives(current, owner) for owner in owners):
            self._delete_pod(current, DeleteOptions())

    def _owner_lives(self, pod: Obj, owner: Obj) -> bool:
        job = self._store.get("jobs", namespace_of(pod), owner["name"])
        return job is not None and uid_of(job) == owner["uid"]

    def _current(self, resource: str, obj: Obj) -> Obj | None:
        current = self._store.get(resource, namespace_of(obj), name_of(obj))
        return current if current is not None and uid_of(current) == uid_of(obj) else None


def _finalizers_after(resource: str, obj: Obj, options: DeleteOptions) -> list[str]:
    kept = [f for f in obj["metadata"].get("finalizers", []) if f not in (ORPHAN, FOREGROUND)]
    propagation = options.propagation
    if propagation is None and resource == "jobs":
        # batch/v1 keeps the dependents unless told otherwise.
        propagation = "Orphan"
    if propagation == "Orphan" and resource == "jobs":
        kept.append(ORPHAN)
    elif propagation == "Foreground" and resource == "jobs":
        kept.append(FOREGROUND)
    return kept


def _marked(obj: Obj, finalizers: list[str]) -> Obj:
    if is_being_deleted(obj):
        return with_metadata(obj, finalizers=finalizers or None)
    return with_metadata(
        obj,
        generation=obj["metadata"].get("generation", 0) + 1,
        deletionTimestamp=clock.stamp(clock.now()),
        deletionGracePeriodSeconds=0,
        finalizers=finalizers or None,
    )


def _without_owner(pod: Obj, owner_uid: str) -> Obj:
    owners = [o for o in pod["metadata"].get("ownerReferences", []) if o["uid"] != owner_uid]
    return with_metadata(pod, ownerReferences=owners or None)


def tracks(pod: Obj) -> bool:
    """Whether the job controller has still to count the pod."""
    return JOB_TRACKING in pod["metadata"].get("finalizers", [])
