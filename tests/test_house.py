"""The files of the checkout that must agree with each other: locks, compose file, Dockerfile, documents."""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from buildportal.lineup import PORTAL
from tests.surroundings import ROOT, variables_of_the_settings

# What a container image or an operator gives by other means than compose's `environment`.
IMAGE_SERVES = {"bind": "0.0.0.0:8000", "state_dir": "/var/lib/buildportal"}
DIRECT = "buildportal (pyproject.toml)"


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def commands() -> list[tuple[str, list[str], dict[str, str]]]:
    return [
        (
            member.name,
            ["python", *(argument.format(**IMAGE_SERVES) for argument in member.arguments)],
            dict(member.environment),
        )
        for member in PORTAL
    ]


def pins(name: str) -> dict[str, tuple[str, str]]:
    """Package -> (version, the rest of its entry: markers, hashes and who wants it)."""
    entries = re.split(r"^(?=[A-Za-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
    found = {}
    for entry in entries:
        package, _, rest = entry.partition("==")
        version = re.match(r"[^\s;]+", rest)
        assert version, entry
        found[str(canonicalize_name(package))] = (version.group(), rest)
    return found


@pytest.mark.parametrize(("name", "command", "environment"), commands())
def test_compose_starts_what_make_run_starts(
    name: str, command: list[str], environment: dict[str, str]
) -> None:
    service = compose()["services"][name]
    assert service["command"] == command
    assert {**compose()["x-portal"]["environment"], **environment} == service["environment"]


def test_compose_has_no_other_process_of_the_portal() -> None:
    built = {name for name, service in compose()["services"].items() if service.get("image") == "buildportal"}
    assert built == {member.name for member in PORTAL} | {"migrate"}


def test_compose_names_only_what_it_declares() -> None:
    content = compose()
    services = content["services"]
    for name, service in services.items():
        assert set(service) & {"image", "build"}, name
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service.get("secrets", [])) <= set(content["secrets"]), name
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in content["volumes"], (name, volume)
    healthy = {
        needed
        for service in services.values()
        for needed, terms in service.get("depends_on", {}).items()
        if terms["condition"] == "service_healthy"
    }
    assert all("healthcheck" in services[name] for name in healthy)


def test_compose_gives_variables_that_the_settings_read() -> None:
    given = set(compose()["x-portal"]["environment"])
    assert given <= set(variables_of_the_settings())
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "CLUSTER", "KUBECONFIG", "STATE_DIR"} <= given


def test_the_image_serves_as_compose_does() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    command = re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert command
    assert json.loads(command.group(1)) == compose()["services"]["web"]["command"]


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.txt", []), ("requirements-dev.txt", ["dev"])], ids=["run", "dev"]
)
def test_the_locks_hold_what_pyproject_asks_for(lock: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    wanted += [Requirement(line) for extra in extras for line in project["optional-dependencies"][extra]]
    pinned = pins(lock)
    for requirement in wanted:
        version, _ = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (
            f"run `make lock`: {requirement} is locked at {version}"
        )
    direct = {name for name, (_, rest) in pinned.items() if DIRECT in rest}
    assert direct == {canonicalize_name(requirement.name) for requirement in wanted}, "run `make lock`"
    assert all("--hash=sha256:" in rest for _, rest in pinned.values())


def test_the_development_lock_contains_the_other() -> None:
    developing = pins("requirements-dev.txt")
    for name, (version, _) in pins("requirements.txt").items():
        assert developing[name][0] == version, name


def test_the_locks_name_no_index() -> None:
    for lock in ("requirements.txt", "requirements-dev.txt"):
        assert not re.search(r"https?://|file:|--find-links", (ROOT / lock).read_text()), lock


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    documented = re.findall(r"^\| `([A-Z0-9_]+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(set(documented))
    assert set(documented) == set(variables_of_the_settings())
