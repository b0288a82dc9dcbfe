"""Logs of Kaniko builds as they read in life, by language and ending; text only, decides nothing about a pod.

A line says {s} where Kaniko prints the seconds since its start. `lines()` gives 20 to 200 of them.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from devcluster import toolchains
from devcluster.toolchains import Language


@dataclass(frozen=True)
class Facts:
    """What the log knows of its build: Kaniko's arguments, and a seed for what varies."""

    destination: str
    context: str
    seed: str

    def dice(self) -> random.Random:
        return random.Random(self.seed)  # noqa: S311 - decoration, not secrecy

    def layer(self, step: str) -> str:
        return f"{self.destination.rpartition(':')[0]}/cache:{self.digest(step)}"

    def digest(self, of: str) -> str:
        return hashlib.sha256(f"{self.seed}/{of}".encode()).hexdigest()


def _info(text: str) -> str:
    return f"INFO[{{s}}] {text}"


def _command(command: str, output: list[str]) -> list[str]:
    """A RUN step up to its snapshot."""
    return [
        _info(f"RUN {command}"),
        _info("Cmd: /bin/sh"),
        _info(f"Args: [-c {command}]"),
        _info(f"Running: [/bin/sh -c {command}]"),
        *output,
    ]


def lines(story: str, facts: Facts) -> list[str]:
    """The log of a story: `<language>/ok`, a failure of the table above, or `<language>/<one of ENDINGS>`."""
    name, _, ending = story.partition("/")
    language = toolchains.LANGUAGES.get(name, toolchains.LANGUAGES["node"])
    return list(_tell(story, ending, language, facts))


def _nothing(_: random.Random) -> list[str]:
    return []


def _tell(story: str, ending: str, language: Language, facts: Facts) -> Iterator[str]:
    dice = facts.dice()
    yield _info(f"Downloading build context from {facts.context}")
    if ending == "dockerfile":
        yield (
            "error building image: parsing dockerfile: dockerfile parse error on line 9: "
            "unknown instruction: RUNN"
        )
        return
    opening = _opening(language, facts)
    if ending == "base-image":
        image, _, tag = language.base.partition(":")
        yield from opening[:4]
        yield (
            "error building image: unable to complete operation after 0 attempts, last error: GET "
            f"https://index.docker.io/v2/library/{image}/manifests/{tag}: MANIFEST_UNKNOWN: manifest unknown"
        )
        return
    yield from opening
    yield from _first_stage(language)
    if ending == "copy":
        yield (
            "error building image: error building stage: failed to execute command: resolving src: failed to "
            "get fileinfo for /kaniko/buildcontext/config/mapping.yaml: lstat "
            "/kaniko/buildcontext/config/mapping.yaml: no such file or directory"
        )
        return
    failing_step, failure = toolchains.FAILURES.get(story, ("", _nothing))
    for step, command, output in (
        ("install", language.install, language.install_output),
        ("build", language.build, language.build_output),
    ):
        if step == failing_step:
            yield from _command(command, failure(dice))
            return
        yield from _command(command, output(dice))
        yield _info("Taking snapshot of full filesystem...")
        yield _info(f"Pushing layer {facts.layer(step)} to cache now")
    yield from _second_stage(language, facts, is_denied=ending == "push-denied")


def _opening(language: Language, facts: Facts) -> list[str]:
    opening = [
        "Using dockerignore file: /kaniko/buildcontext/.dockerignore",
        f"Resolved base name {language.base} to build",
        f"Resolved base name {language.runtime} to runtime",
        f"Retrieving image manifest {language.base}",
        f"Retrieving image {language.base} from registry index.docker.io",
        f"Retrieving image manifest {language.runtime}",
        f"Built cross stage deps: map[0:[{language.artefact}]]",
        "Executing 0 build triggers",
        f"Building stage '{language.base}' [idx: '0', base-idx: '-1']",
        f"Checking for cached layer {facts.layer('install')}...",
        f"No cached layer found for cmd RUN {language.install}",
    ]
    return [_info(text) for text in opening]


def _first_stage(language: Language) -> list[str]:
    stage = [
        f"Unpacking rootfs as cmd COPY {language.files} requires it.",
        "Initializing snapshotter ...",
        "Taking snapshot of full filesystem...",
        "WORKDIR /src",
        "Cmd: workdir",
        "Changed working directory to /src",
        f"COPY {language.files}",
        "Taking snapshot of files...",
        "COPY . .",
        "Taking snapshot of files...",
    ]
    return [_info(text) for text in stage]


def _second_stage(language: Language, facts: Facts, is_denied: bool) -> list[str]:
    stage = [
        f"Saving file {language.artefact.lstrip('/')} for later use",
        "Deleting filesystem...",
        f"Building stage '{language.runtime}' [idx: '1', base-idx: '-1']",
        f"Unpacking rootfs as cmd COPY --from=build {language.artefact} /app requires it.",
        f"COPY --from=build {language.artefact} /app",
        "Taking snapshot of files...",
        "USER 65532:65532",
        'ENTRYPOINT ["/app/parser"]',
        f"Pushing image to {facts.destination}",
    ]
    told = [_info(text) for text in stage]
    if is_denied:
        registry = facts.destination.partition("/")[0]
        refusal = f"POST https://{registry}/v2/blobs/uploads/: DENIED: requested access is denied"
        return [*told, f"error pushing image: failed to push to destination {facts.destination}: {refusal}"]
    repository = facts.destination.rpartition(":")[0]
    return [*told, _info(f"Pushed {repository}@sha256:{facts.digest('image')}")]


# Endings that any language can have.
ENDINGS = ("ok", "dockerfile", "base-image", "copy", "push-denied")
