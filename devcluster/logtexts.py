"""The text of a played container's log as records with times; reads only the script and the run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devcluster import stories
from devcluster.podstates import Run
from devcluster.sim import ContainerScript
from devcluster.stories import Facts

# The container runtime cuts longer lines into several records (CRI).
RECORD_LIMIT_BYTES = 16 * 1024

KANIKO = (
    "Retrieving image manifest debian:12-slim",
    "Retrieving image debian:12-slim from registry index.docker.io",
    "Built cross stage deps: map[]",
    "Executing 0 build triggers",
    "Unpacking rootfs as cmd RUN apt-get update requires it.",
    "RUN apt-get update && apt-get install -y build-essential",
    "Cmd: /bin/sh",
    "Args: [-c apt-get update && apt-get install -y build-essential]",
)
KANIKO_FAILURE = (
    "error building image: error building stage: failed to execute command: "
    "waiting for process to exit: exit status {code}"
)


@dataclass(frozen=True)
class Record:
    """`at` in seconds since the epoch; a record without a line end is the first part of a long line."""

    at: float
    data: bytes


def planned(script: ContainerScript, run: Run, facts: Facts) -> list[Record]:
    """What the run would write if it ran to its planned end: spread evenly, the last word at the end."""
    lines = _lines(script, run, facts)
    planned_s = script.run_s
    gap_s = planned_s / script.log_share / len(lines) if lines else 0.0
    records: list[Record] = []
    for index, line in enumerate(lines):
        at_s = index * gap_s
        data = line(at_s) if callable(line) else line
        records += _records(run.started_at + at_s, _padded(data, script.log_line_bytes))
    for line in _final_lines(script, run):
        records += _records(run.started_at + planned_s, line)
    return records


def written(script: ContainerScript, run: Run, facts: Facts, until: float) -> list[Record]:
    """What stands in the log at a time."""
    end = until if run.stopped_at is None else min(until, run.stopped_at)
    return [record for record in planned(script, run, facts) if record.at <= end]


def _records(at: float, line: bytes) -> list[Record]:
    data = line + b"\n"
    return [
        Record(at, data[start : start + RECORD_LIMIT_BYTES])
        for start in range(0, len(data), RECORD_LIMIT_BYTES)
    ]


def _padded(line: bytes, length: int) -> bytes:
    return line + b"x" * (length - len(line))


def _final_lines(script: ContainerScript, run: Run) -> list[bytes]:
    final = [script.log_final.encode()] if script.log_final else []
    is_own_text = script.log_text is not None or script.log_story or script.log_style != "kaniko"
    if run.exit_code and not is_own_text and not run.is_init:
        final.append(KANIKO_FAILURE.format(code=run.exit_code).encode())
    return final


def _lines(script: ContainerScript, run: Run, facts: Facts) -> Sequence["bytes | _Timed"]:
    if script.log_text is not None:
        return [line.encode() for line in script.log_text.splitlines()]
    if script.log_story:
        language = script.log_story.partition("/")[0]
        # A run that ends well tells so, whatever its predecessor ended with.
        story = script.log_story if run.exit_code else f"{language}/ok"
        return [_Timed(line) for line in stories.lines(story, facts)]
    style = STYLES.get(script.log_style, _plain)
    made: list[bytes | _Timed] = [style(index) for index in range(script.log_lines)]
    return made


@dataclass(frozen=True)
class _Timed:
    """A line that shows the seconds since the start where it says {s}."""

    text: str

    def __call__(self, at_s: float) -> bytes:
        return self.text.replace("{s}", f"{int(at_s):04d}").encode()


def _kaniko(index: int) -> _Timed:
    if index < len(KANIKO):
        return _Timed(f"INFO[{{s}}] {KANIKO[index]}")
    if index % 10 == 9:
        return _Timed("INFO[{s}] Taking snapshot of full filesystem...")
    return _Timed(
        f"Get:{index} http://mirror.example/debian bookworm/main amd64 Packages [{8000 + index} kB]"
    )


def _plain(index: int) -> bytes:
    return f"line {index}".encode()


def _ansi(index: int) -> bytes:
    return f"\x1b[3{1 + index % 6}mINFO\x1b[0m step {index} \x1b[1mbold\x1b[0m".encode()


def _utf8(index: int) -> bytes:
    return f"Zeile {index}: größer, 日本語, 🚀".encode()


def _carriage_return(_: int) -> bytes:
    return b"\r".join(f"progress {share} %".encode() for share in range(0, 101, 25))


def _invalid(index: int) -> bytes:
    return b"bad \xff\xfe bytes %d" % index


STYLES: dict[str, Callable[[int], "bytes | _Timed"]] = {
    "kaniko": _kaniko,
    "plain": _plain,
    "ansi": _ansi,
    "utf8": _utf8,
    "cr": _carriage_return,
    "invalid": _invalid,
}
