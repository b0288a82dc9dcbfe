"""Reads the sim/ annotations of a pod: what its containers shall do; it acts on none of them."""

from dataclasses import dataclass

from devcluster.objects import Obj

UNSCHEDULABLE = (
    "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
    "0/1 nodes are available: 1 No preemption victims found for incoming pod."
)


@dataclass(frozen=True)
class PodScript:
    """What happens to the pod as a whole."""

    schedule_s: float
    pull_s: float
    init_run_s: float
    unschedulable: str
    image_pull_error: str
    crashloop_s: float
    evict_after_s: float | None
    lost_after_s: float | None


@dataclass(frozen=True)
class ContainerScript:
    run_s: float
    exit_codes: tuple[int, ...]
    reason: str
    termination_message: str
    log_lines: int
    log_line_bytes: int
    log_style: str
    # A story of the module stories, and how much of it is told before the run ends.
    log_story: str
    log_share: float
    log_text: str | None
    log_final: str
    term_s: float
    term_exit_code: int

    def exit_code(self, run: int) -> int:
        """Of the n-th run, from 0; the last code of the list stays."""
        return self.exit_codes[min(run, len(self.exit_codes) - 1)]


def _annotation(pod: Obj, key: str, container: str = "") -> str | None:
    annotations = pod["metadata"].get("annotations") or {}
    if container and f"sim/{container}.{key}" in annotations:
        return str(annotations[f"sim/{container}.{key}"])
    value = annotations.get(f"sim/{key}")
    return None if value is None else str(value)


def _seconds(pod: Obj, key: str, default: float, container: str = "") -> float:
    """A value that is no number counts as absent: a pod must not be able to stop the cluster."""
    value = _optional_seconds(pod, key, container)
    return default if value is None else value


def _optional_seconds(pod: Obj, key: str, container: str = "") -> float | None:
    try:
        return max(0.0, float(_annotation(pod, key, container) or ""))
    except ValueError:
        return None


def _integer(pod: Obj, key: str, default: int, container: str) -> int:
    try:
        return int(_annotation(pod, key, container) or "")
    except ValueError:
        return default


def _exit_codes(pod: Obj, container: str) -> tuple[int, ...]:
    parts = (_annotation(pod, "exit-code", container) or "0").split(",")
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        return (0,)


def pod_script(pod: Obj) -> PodScript:
    unschedulable = _annotation(pod, "unschedulable") or ""
    return PodScript(
        schedule_s=_seconds(pod, "schedule-seconds", 0.05),
        pull_s=_seconds(pod, "pull-seconds", 0.3),
        init_run_s=_seconds(pod, "init-run-seconds", 0.2),
        unschedulable=UNSCHEDULABLE if unschedulable in ("1", "true") else unschedulable,
        image_pull_error=_annotation(pod, "image-pull-error") or "",
        crashloop_s=_seconds(pod, "crashloop-seconds", 1.0),
        evict_after_s=_optional_seconds(pod, "evict-after-seconds"),
        lost_after_s=_optional_seconds(pod, "lost-after-seconds"),
    )


def container_script(pod: Obj, container: str, is_init: bool = False) -> ContainerScript:
    """`sim/<key>` speaks to the app containers; an init container hears `sim/<its name>.<key>` alone."""
    if is_init:
        own = {
            key: value
            for key, value in (pod["metadata"].get("annotations") or {}).items()
            if key.startswith((f"sim/{container}.", "sim/log-"))
        }
        default_run_s = pod_script(pod).init_run_s
        pod = {"metadata": {"annotations": own}}
    else:
        default_run_s = 1.0
    return ContainerScript(
        run_s=_seconds(pod, "run-seconds", default_run_s, container),
        exit_codes=_exit_codes(pod, container),
        reason=_annotation(pod, "reason", container) or "",
        termination_message=_annotation(pod, "termination-message", container) or "",
        log_lines=max(0, _integer(pod, "log-lines", 10, container)),
        log_line_bytes=_integer(pod, "log-line-bytes", 0, container),
        log_style=_annotation(pod, "log-style", container) or "kaniko",
        log_story=_annotation(pod, "log-story", container) or "",
        log_share=max(0.01, _seconds(pod, "log-share", 1.0, container)),
        log_text=_annotation(pod, "log-text", container),
        log_final=_annotation(pod, "log-final", container) or "",
        term_s=_seconds(pod, "term-seconds", 0.2, container),
        term_exit_code=_integer(pod, "term-exit-code", 143, container),
    )
