"""Plays a stream of builds of invented customers, good and failed in every way; decides nothing more."""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from devcluster import clock, stories, toolchains, verbs
from devcluster.cluster import Cluster
from devcluster.deletion import DeleteOptions
from devcluster.objects import Obj, is_being_deleted, is_finished_job, random_hex
from devcluster.requests import Target
from devcluster.resources import JOBS

NAMESPACE = "knative-lambda"
REGISTRY = "registry.example.com/knative-lambdas"
BUILDER = "gcr.io/kaniko-project/executor:v1.23.2"
# A new build this often, and this many at the start: about a dozen run at any time.
EVERY_S = 4.0
AT_START = 7
MOST_ACTIVE = 20
# A node that was lost is given up after this long, as an operator would.
LOST_FOR_S = 180.0


@dataclass(frozen=True)
class Customer:
    third_party_id: str
    language: str
    parser_ids: tuple[str, ...]


CUSTOMERS = (
    Customer("aldermoor-logistics", "node", ("shipments", "customs", "tariffs")),
    Customer("brightfen-retail", "node", ("orders", "returns", "stock-levels")),
    Customer("cobaltquay", "go", ("manifests", "berths")),
    Customer("dunmere-health", "python", ("claims", "eligibility", "lab-results")),
    Customer("eastrill-energy", "java", ("meter-reads", "tariff-sheets")),
    Customer("fernhollow-foods", "python", ("deliveries", "batches")),
    Customer("glasswing-air", "go", ("bookings", "crew-rosters", "fares")),
    Customer("hartvale-bank", "java", ("statements", "sepa-batches", "mandates")),
    Customer("ironloch-motors", "node", ("parts", "recalls")),
    Customer("kestrelpost", "go", ("parcels", "pickups", "proofs")),
    Customer("larkspur-media", "python", ("royalties", "playlists")),
    Customer("mossgate-homes", "node", ("listings", "leases")),
)


@dataclass(frozen=True)
class Course:
    """How a build goes: its sim/ keys without the prefix, and what it changes in the Job's spec."""

    sim: dict[str, object]
    spec: dict[str, object]


def _ok(shortest_s: float, longest_s: float) -> Callable[[random.Random, Customer], Course]:
    def course(dice: random.Random, customer: Customer) -> Course:
        run_s = round(dice.uniform(shortest_s, longest_s), 1)
        spec: dict[str, object] = {"activeDeadlineSeconds": 1800} if dice.random() < 0.4 else {}
        return Course({"run-seconds": run_s, "log-story": f"{customer.language}/ok"}, spec)

    return course


def _build_error(dice: random.Random, customer: Customer) -> Course:
    own = [story for story in toolchains.FAILURES if story.startswith(customer.language)]
    general = [f"{customer.language}/{ending}" for ending in stories.ENDINGS if ending != "ok"]
    story = dice.choice(own * 3 + general)
    is_early = story.endswith(("dockerfile", "base-image"))
    run_s = dice.uniform(2, 5) if is_early else dice.uniform(8, 45)
    return Course({"run-seconds": round(run_s, 1), "exit-code": 1, "log-story": story}, {})


def _out_of_memory(dice: random.Random, customer: Customer) -> Course:
    sim: dict[str, object] = {"exit-code": 137, "reason": "OOMKilled", "log-story": f"{customer.language}/ok"}
    return _cut_short(dice, sim)


def _cut_short(dice: random.Random, sim: dict[str, object]) -> Course:
    """Killed before the log's last words: the sim/log-share of it has been written."""
    return Course({"run-seconds": round(dice.uniform(15, 60), 1), "log-share": 0.6, **sim}, {})


def _image_pull_error(dice: random.Random, _: Customer) -> Course:
    return Course({"image-pull-error": 1}, {"activeDeadlineSeconds": dice.randint(60, 150)})


def _unschedulable(dice: random.Random, _: Customer) -> Course:
    return Course({"unschedulable": 1}, {"activeDeadlineSeconds": dice.randint(60, 150)})


def _deadline(dice: random.Random, customer: Customer) -> Course:
    sim = {"run-seconds": 600, "log-story": f"{customer.language}/ok", "term-seconds": 1.5}
    return Course(sim, {"activeDeadlineSeconds": dice.randint(40, 90)})


def _evicted(dice: random.Random, customer: Customer) -> Course:
    after_s = round(dice.uniform(10, 50), 1)
    return Course(
        {"run-seconds": 200, "evict-after-seconds": after_s, "log-story": f"{customer.language}/ok"}, {}
    )


def _node_lost(dice: random.Random, customer: Customer) -> Course:
    sim = {"run-seconds": 200, "lost-after-seconds": 20, "log-story": f"{customer.language}/ok"}
    return Course(sim, {"activeDeadlineSeconds": dice.randint(60, 120)})


def _retried(dice: random.Random, customer: Customer) -> Course:
    failures = dice.randint(1, 2)
    codes = ",".join(["1"] * failures + [dice.choice("001")])
    story = f"{customer.language}/push-denied"
    run_s = round(dice.uniform(6, 20), 1)
    return Course({"run-seconds": run_s, "exit-code": codes, "log-story": story}, {"backoffLimit": failures})


COURSES: tuple[tuple[int, Callable[[random.Random, Customer], Course]], ...] = (
    (34, _ok(5, 15)),
    (22, _ok(20, 60)),
    (18, _ok(60, 240)),
    (10, _build_error),
    (4, _retried),
    (3, _out_of_memory),
    (2, _deadline),
    (2, _evicted),
    (2, _image_pull_error),
    (2, _unschedulable),
    (1, _node_lost),
)

# The first look shall show good builds, and soon a failed one.
FIRST = (_ok(6, 12), _ok(6, 12), _build_error, _ok(60, 120))


class Demo:
    def __init__(self, cluster: Cluster, rate: float) -> None:
        """`rate` 2 makes twice as many builds as usual."""
        self._cluster = cluster
        self._rate = max(0.01, rate)
        self._dice = random.Random()  # noqa: S311 - decoration, not secrecy
        self._begun = 0

    def start(self) -> None:
        """A handful at once, so that there is life to see; after a restart only what is missing of it."""
        for number in range(max(0, AT_START - self._active())):
            key = ("demo", number)
            self._cluster.timers.set(key, clock.now() + number * 0.15, self._begin_build)
        self._cluster.timers.set("demo", clock.now() + EVERY_S / self._rate, self._tick)

    def _tick(self) -> None:
        if self._active() < MOST_ACTIVE * max(1.0, self._rate):
            self._begin_build()
        self._give_up_lost_pods()
        delay_s = self._dice.uniform(0.4, 1.6) * EVERY_S / self._rate
        self._cluster.timers.set("demo", clock.now() + delay_s, self._tick)

    def _active(self) -> int:
        return sum(not is_finished_job(job) for job in self._cluster.store.items("jobs", NAMESPACE))

    def _begin_build(self) -> None:
        customer = self._dice.choice(CUSTOMERS)
        (make,) = self._dice.choices([c for _, c in COURSES], [weight for weight, _ in COURSES])
        if self._begun < len(FIRST):
            make = FIRST[self._begun]
        self._begun += 1
        job = build(self._dice, customer, make(self._dice, customer))
        target = Target(JOBS, NAMESPACE, "", "", False)
        verbs.create(self._cluster.store, target, job, {})

    def _give_up_lost_pods(self) -> None:
        for pod in self._cluster.store.items("pods", NAMESPACE):
            if not is_being_deleted(pod):
                continue
            if clock.parse(pod["metadata"]["deletionTimestamp"]) + LOST_FOR_S < clock.now():
                self._cluster.deletion.delete("pods", pod, DeleteOptions(grace_s=0))


def build(dice: random.Random, customer: Customer, course: Course) -> Obj:
    """The body of a build Job with the labels, annotations and arguments of real ones."""
    third_party_id, parser_id = customer.third_party_id, dice.choice(customer.parser_ids)
    short_hash = random_hex(6)
    image = f"{REGISTRY}/{third_party_id}/{parser_id}:{short_hash}"
    labels = {
        "app": "knative-lambda-builder",
        "build.notifi.network/third-party-id": third_party_id,
        "build.notifi.network/parser-id": parser_id,
    }
    sim = {
        "schedule-seconds": round(dice.uniform(0.1, 0.8), 2),
        "pull-seconds": round(dice.uniform(0.3, 1.2), 2),
        **course.sim,
    }
    containers = [_kaniko(third_party_id, parser_id, short_hash, image)]
    if dice.random() < 0.15:
        containers.append(_sidecar())
        sim |= {"cache-proxy.exit-code": 0, "cache-proxy.log-style": "plain", "cache-proxy.log-story": ""}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"build-{third_party_id}-{parser_id}-{short_hash}",
            "labels": labels,
            "annotations": {
                "lambda.knative.io/image-uri": image,
                "build.notifi.network/correlation-id": str(uuid.uuid4()),
            },
        },
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 300,
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {f"sim/{key}": str(value) for key, value in sim.items()},
                },
                "spec": {"restartPolicy": "Never", "containers": containers},
            },
            **course.spec,
        },
    }


def _kaniko(third_party_id: str, parser_id: str, short_hash: str, image: str) -> Obj:
    context = f"s3://lambda-build-contexts/{third_party_id}/{parser_id}/{short_hash}.tar.gz"
    return {
        "name": "kaniko",
        "image": BUILDER,
        "args": [
            f"--context={context}",
            "--dockerfile=Dockerfile",
            f"--destination={image}",
            "--cache=true",
            "--snapshot-mode=redo",
        ],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
    }


def _sidecar() -> Obj:
    return {
        "name": "cache-proxy",
        "image": "registry.example.com/platform/cache-proxy:2.3.0",
        "args": ["--listen=127.0.0.1:5000"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
    }
