"""Pod log -> stored text: the last lines of a build's container, redacted, kept after the pod is gone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q

from builds import facts
from builds.kube import Cluster, LogUnavailable, NotFound, PodSnapshot
from builds.models import Build, BuildLog

# After a build's end its container may go on for its grace period, or the cluster may be out of reach: look
# again, ever more rarely, and not for ever, since a lost node never says that its pods have stopped.
_LONGEST_PAUSE_S = 60
_PATIENCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the cluster had: `why` says why there is no text; `has_ended` that there will be no more."""

    text: str
    why: str | None
    has_ended: bool
    as_of: datetime


def capture(cluster: Cluster, build: Build) -> Reading:
    """Read the build's log and store it. Raises ClusterError; then nothing has changed.

    One call for the pods and one per pod that is read. A reading never replaces a newer or a final one, and
    an empty one never replaces text.
    """
    reading = read(cluster, build)
    _store(build, reading)
    return reading


def read(cluster: Cluster, build: Build) -> Reading:
    """The last lines of all pods in order of creation, as many as are kept. Raises ClusterError."""
    as_of = datetime.now(UTC)
    if build.uid is None:
        return Reading("", "not_created", has_ended=build.is_finished, as_of=as_of)
    pods = cluster.pods_of(build.namespace, build.uid)
    texts: list[str] = []
    why: str | None = None if pods else ("pod_gone" if build.started_at else "never_started")
    lines_wanted = settings.LOG_LINES
    for pod in reversed(pods):
        try:
            raw = cluster.read_log(
                build.namespace, pod.name, _container_of(build, pod), tail_lines=lines_wanted
            )
        except NotFound:
            why = "pod_gone"
            continue
        except LogUnavailable as error:
            why = error.why
            continue
        text = raw.decode("utf-8", errors="replace")
        if text and not text.endswith("\n") and texts:
            text += "\n"
        texts.insert(0, text)
        lines_wanted -= text.count("\n")
        if lines_wanted <= 0:
            break
    has_ended = all(_is_over(build, pod) for pod in pods)
    return Reading(tail_of(facts.storable("".join(texts))), why, has_ended=has_ended, as_of=as_of)


def tail_of(text: str) -> str:
    """The last LOG_LINES lines that fit into LOG_LIMIT_BYTES, whole lines where there is one that fits."""
    # Not splitlines(): it would also break at the carriage returns of progress bars.
    *whole, rest = text.split("\n")
    lines = [line + "\n" for line in whole] + ([rest] if rest else [])
    cut = "".join(lines[-settings.LOG_LINES :]).encode("utf-8", errors="replace")
    if len(cut) <= settings.LOG_LIMIT_BYTES:
        return cut.decode("utf-8")
    cut = cut[-settings.LOG_LIMIT_BYTES :]
    start = cut.find(b"\n") + 1
    return (cut[start:] if 0 < start < len(cut) else cut).decode("utf-8", errors="ignore")


def due_again(build: Build, reading: Reading | None) -> None:
    """Set when the log of a finished build is read next, if ever; `reading` None stands for a failed call."""
    row = BuildLog.objects.filter(build=build, next_try_at__isnull=False).first()
    if row is None:
        return
    now = datetime.now(UTC)
    if reading is not None and reading.has_ended:
        changes: dict[str, Any] = {"next_try_at": None}
    elif build.completed_at is not None and now - build.completed_at > _PATIENCE:
        changes = {"next_try_at": None, "unavailable_reason": "unreachable"}
    else:
        changes = {
            "next_try_at": now + timedelta(seconds=min(2**row.tries, _LONGEST_PAUSE_S)),
            "tries": row.tries + 1,
        }
    BuildLog.objects.filter(pk=row.pk).update(**changes)


def _container_of(build: Build, pod: PodSnapshot) -> str:
    return build.build_container or (
        pod.containers[0].name if pod.containers else settings.BUILD_CONTAINERS[0]
    )


def _is_over(build: Build, pod: PodSnapshot) -> bool:
    """Whether the pod's build container will print no more: it has stopped, or the pod never ran it."""
    if pod.phase in ("Succeeded", "Failed"):
        return True
    name = _container_of(build, pod)
    return any(run.name == name and run.state == "terminated" for run in pod.containers)


def _store(build: Build, reading: Reading) -> None:
    is_final = reading.has_ended and build.is_finished
    row, _ = BuildLog.objects.get_or_create(build=build)
    open_rows = BuildLog.objects.filter(pk=row.pk, is_final=False).filter(
        Q(as_of__isnull=True) | Q(as_of__lt=reading.as_of)
    )
    if not reading.text and row.text:
        # What was read while it ran is all there is; say what is missing.
        open_rows.update(is_final=is_final, unavailable_reason=reading.why)
        return
    changes = {"as_of": reading.as_of, "is_final": is_final, "unavailable_reason": reading.why}
    if reading.text != row.text:
        changes["text"] = reading.text
    open_rows.update(**changes)
