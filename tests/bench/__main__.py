"""`python -m tests.bench`: what following a large cluster costs, each figure beside its bar.

Runs the real processes against `tests.bench.cluster`. Prints a table, writes $STATE_DIR/bench-sync.json, and
exits non-zero if a bar does not hold.
"""

import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests import surroundings
from tests.bench.figures import Figure, table

JOBS = int(os.environ.get("JOBS", "50000"))
RATE_PER_S = 500
STEADY_S = int(os.environ.get("STEADY_S", "30"))
IDLE_S = int(os.environ.get("IDLE_S", "20"))


def main() -> int:
    state_dir = Path(os.environ.get("STATE_DIR", "var")).resolve()
    around = surroundings.prepare()
    try:
        import django

        django.setup()
        from tests.bench import measuring

        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bp-bench-")))
            figures = measuring.everything(
                folder, jobs=JOBS, rate_per_s=RATE_PER_S, steady_s=STEADY_S, idle_s=IDLE_S, say=_say
            )
    finally:
        around.remove()
    return _report(figures, state_dir)


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _report(figures: list[Figure], state_dir: Path) -> int:
    _say(table(figures))
    state_dir.mkdir(parents=True, exist_ok=True)
    target = state_dir / "bench-sync.json"
    target.write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")
    _say(f"Written to {target}.")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
