"""The objects, the global resourceVersion and the history for watches; knows no Jobs and no HTTP."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import msgspec

from devcluster import errors
from devcluster.journal import Journal
from devcluster.objects import Obj, is_being_deleted, name_of, namespace_of, uid_of, with_metadata
from devcluster.resources import STORED

# Enough for a watch that was away for some minutes; the objects are shared, so an entry costs little.
HISTORY_LENGTH = 3000
# A real cluster has written a thousand things before the first client comes: version 1 is always too old.
FIRST_VERSION = 1000

Key = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """One write, as every watch of the resource sees it. `before` is None for ADDED."""

    version: int
    type: str
    resource: str
    obj: Obj
    before: Obj | None

    @cached_property
    def encoded(self) -> bytes:
        """The watch line, encoded once for all watches."""
        return msgspec.json.encode({"type": self.type, "object": self.obj}) + b"\n"


class Store:
    def __init__(self, journal: Journal, history_length: int = HISTORY_LENGTH) -> None:
        self._journal = journal
        self._objects: dict[str, dict[Key, Obj]] = {plural: {} for plural in STORED}
        self._owned: dict[str, set[Key]] = {}
        self._history: dict[str, deque[Change]] = {plural: deque() for plural in STORED}
        self._history_length = history_length
        self._listeners: list[Callable[[Change], None]] = []
        for resource, obj in journal.objects():
            self._objects[resource][namespace_of(obj), name_of(obj)] = obj
            self._index(resource, None, obj)
        # A new process starts its watch cache at the counter as it is now, and something has always been
        # written since the last event that a client saw: so every version from before is too old.
        self.version = max(journal.version(), FIRST_VERSION) + 1
        journal.put_version(self.version)
        self._floors = dict.fromkeys(STORED, self.version)

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        """The listener is called after each write, synchronously, and must not write itself: it schedules."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[Change], None]) -> None:
        self._listeners.remove(listener)

    def get(self, resource: str, namespace: str, name: str) -> Obj | None:
        return self._objects[resource].get((namespace, name))

    def items(self, resource: str, namespace: str = "") -> list[Obj]:
        """By namespace and name; of all namespaces when none is given."""
        objects = self._objects[resource]
        return [objects[key] for key in sorted(objects) if not namespace or key[0] == namespace]

    def owned_pods(self, owner_uid: str) -> list[Obj]:
        """Pods that refer to the owner, by name."""
        pods = self._objects["pods"]
        return [pods[key] for key in sorted(self._owned.get(owner_uid, ()))]

    def create(self, resource: str, obj: Obj) -> Obj:
        key = (namespace_of(obj), name_of(obj))
        existing = self._objects[resource].get(key)
        if existing is not None:
            raise errors.already_exists(STORED[resource], key[1], is_being_deleted(existing))
        return self._write("ADDED", resource, obj, None)

    def update(self, resource: str, obj: Obj) -> Obj:
        """Store the object in place of the one of that name; nothing happens if nothing differs.

        An object that is being deleted goes when its last finalizer is taken away and no grace is left.
        """
        before = self._objects[resource][namespace_of(obj), name_of(obj)]
        if obj == before:
            return before
        metadata = obj["metadata"]
        is_last_taken = before["metadata"].get("finalizers") and not metadata.get("finalizers")
        if is_last_taken and is_being_deleted(obj) and not metadata.get("deletionGracePeriodSeconds"):
            # The removal of the last finalizer is never stored: the event carries the object before it.
            return self.remove(resource, before)
        return self._write("MODIFIED", resource, obj, before)

    def remove(self, resource: str, obj: Obj) -> Obj:
        before = self._objects[resource][namespace_of(obj), name_of(obj)]
        return self._write("DELETED", resource, obj, before)

    def _write(self, type_: str, resource: str, obj: Obj, before: Obj | None) -> Obj:
        self.version += 1
        obj = with_metadata(obj, resourceVersion=str(self.version))
        key = (namespace_of(obj), name_of(obj))
        if type_ == "DELETED":
            del self._objects[resource][key]
            self._journal.drop(resource, obj, self.version)
            self._index(resource, before, None)
        else:
            self._objects[resource][key] = obj
            self._journal.put(resource, obj, self.version)
            self._index(resource, before, obj)
        change = Change(self.version, type_, resource, obj, before)
        self._remember(change)
        for listener in tuple(self._listeners):
            listener(change)
        return obj

    def _index(self, resource: str, before: Obj | None, after: Obj | None) -> None:
        if resource != "pods":
            return
        if before is not None:
            for owner in before["metadata"].get("ownerReferences", []):
                keys = self._owned[owner["uid"]]
                keys.discard((namespace_of(before), name_of(before)))
                if not keys:
                    del self._owned[owner["uid"]]
        if after is not None:
            for owner in after["metadata"].get("ownerReferences", []):
                self._owned.setdefault(owner["uid"], set()).add((namespace_of(after), name_of(after)))

    def _remember(self, change: Change) -> None:
        history = self._history[change.resource]
        history.append(change)
        if len(history) > self._history_length:
            self._floors[change.resource] = history.popleft().version

    def changes_since(self, resource: str, version: int) -> list[Change]:
        """What was written after that version, oldest first; raises the 410 when the history is shorter."""
        floor = self._floors[resource]
        if version < floor:
            raise errors.too_old(version, floor)
        return [change for change in self._history[resource] if change.version > version]

    def items_at(self, resource: str, namespace: str, version: int) -> list[Obj] | None:
        """The list as it was at that version; None when the history does not reach back so far."""
        if version < self._floors[resource]:
            return None
        objects = dict(self._objects[resource])
        for change in reversed(self._history[resource]):
            if change.version <= version:
                break
            key = (namespace_of(change.obj), name_of(change.obj))
            if change.before is None:
                objects.pop(key, None)
            else:
                objects[key] = change.before
        return [objects[key] for key in sorted(objects) if not namespace or key[0] == namespace]

    def pod_by_uid(self, namespace: str, name: str, uid: str) -> Obj | None:
        """The pod, unless another of the same name has taken its place."""
        pod = self.get("pods", namespace, name)
        return pod if pod is not None and uid_of(pod) == uid else None
