"""Every curl line of the README, run as it stands there, answers as the README says."""

import json
import os
import re
import subprocess
from typing import Any

import pytest

from tests.portal import Portal
from tests.processes import wait_until
from tests.surroundings import ROOT

pytestmark = pytest.mark.e2e

BLOCK = re.compile(r"^```(sh|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What an answer means stands in these fields, so their values have to be those of the README.
TELLING = {"status", "code", "message", "error", "success", "limit", "worker_count", "is_shutdown", "reason"}


def examples() -> list[tuple[str, Any]]:
    """(commands, the answer that follows them or None) for each block of the chapter on curl, in order."""
    text = (ROOT / "README.md").read_text()
    chapter = text[text.index("## By curl") : text.index("## Against a real cluster")]
    blocks = BLOCK.findall(chapter)
    found = []
    for (kind, content), (next_kind, next_content) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "sh":
            found.append((content, json.loads(next_content) if next_kind == "json" else None))
    return found


def shape(value: Any) -> Any:
    """Keys and kinds of a JSON value; null stands for anything, and a list's last element for all."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(value[-1])] if value else []
    return {bool: "boolean", int: "number", float: "number", str: "text"}.get(type(value))


def differences(said: Any, got: Any, place: str = "") -> list[str]:
    """Where the two shapes part."""
    if said is None or got is None:
        return []
    if isinstance(said, dict) and isinstance(got, dict):
        missing = [f"{place}.{key}: only in one of the two" for key in said.keys() ^ got.keys()]
        return missing + [
            line
            for key in said.keys() & got.keys()
            for line in differences(said[key], got[key], f"{place}.{key}")
        ]
    if isinstance(said, list) and isinstance(got, list):
        return differences(said[0], got[0], f"{place}[]") if said and got else []
    return [] if said == got else [f"{place}: {said} against {got}"]


def test_every_curl_line_answers_as_it_says(demo: Portal) -> None:
    wait_until(lambda: demo.get("/builds?status=running")["total"] > 2, 30, "running builds")
    script, expected = "set -e\n", []
    for commands, answer in examples():
        script += commands.replace("var/run.json", str(demo.state_dir / "run.json"))
        if answer is not None:
            script += "printf '\\n--answer--\\n'\n"
            expected.append(answer)
    assert len(expected) >= 7
    run = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ)
    )
    assert run.returncode == 0, run.stderr
    answers = [json.loads(part) for part in run.stdout.split("\n--answer--\n")[:-1]]
    for said, got in zip(expected, answers, strict=True):
        assert differences(shape(said), shape(got)) == [], got
        assert {k: v for k, v in said.items() if k in TELLING} == {
            k: v for k, v in got.items() if k in TELLING
        }


def test_the_comparison_sees_differences() -> None:
    """It sees a key too many, a key too few and another kind."""
    assert differences(shape({"a": 1, "b": [{"c": "x"}]}), shape({"a": 2.5, "b": [{"c": "y"}]})) == []
    assert differences(shape({"a": 1}), shape({"a": "1"})) == [".a: number against text"]
    assert differences(shape({"b": [{"c": 1}]}), shape({"b": [{"d": 1}]})) != []
