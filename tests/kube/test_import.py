"""What importing the gateway brings into a process."""

import subprocess
import sys

PROBE = """
import sys
import builds.kube
loaded = sorted(name for name in sys.modules if name.startswith(("kubernetes", "django", "builds.")))
print(*loaded, sep="\\n")
"""


def test_importing_the_gateway_loads_neither_the_client_library_nor_anything_else_of_builds() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = done.stdout.split()
    assert "builds.kube.cluster" in loaded
    assert [name for name in loaded if not name.startswith("builds.kube")] == []
