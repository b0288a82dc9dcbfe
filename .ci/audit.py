"""Asks pip-audit about the locked packages; a known vulnerability fails, data out of reach does not."""

import json
import subprocess
import sys

TIMEOUT_S = 300


def main() -> int:
    """0 where nothing is known, 1 where something is; a sentence says how much could be asked about."""
    try:
        audit = subprocess.run(
            [
                *(sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"),
                *("--disable-pip", "--require-hashes", "-r", "requirements-dev.txt"),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        packages = json.loads(audit.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"not run: no answer within {TIMEOUT_S} s")
        return 0
    except json.JSONDecodeError:
        reason = (audit.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"not run: pip-audit cannot reach its data ({reason[:160]})")
        return 0
    known = [package for package in packages if package.get("vulns")]
    for package in known:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    unknown = sum("skip_reason" in package for package in packages)
    print(
        f"{len(packages) - unknown} of {len(packages)} packages asked about, {unknown} unknown to the index"
    )
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
