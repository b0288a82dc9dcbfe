"""`python -m tests.bench.cluster FOLDER JOBS`: an API server of so many finished builds, to measure readers.

It lists pages, holds watches open and, when told to play, lets new builds live at a steady rate. Plain HTTP,
no rights, no selectors but a pod's owner; bytes from templates, so that it costs little beside the reader.
"""

import asyncio
import itertools
import json
import signal
import sys
import time
from pathlib import Path

from aiohttp import web

from tests.bench.objects import EMPTY_NAMESPACE, STEPS, Template, name_of, number_of, templates, uid_of

FIRST_VERSION = 1000
STEP_S = 0.6
"""Between two steps of one build's life."""
TICK_S = 0.02
BOOKMARK_S = 30.0
KINDS = {"jobs": "JobList", "pods": "PodList", "events": "EventList"}
RESOURCE_OF = {"created": "jobs", "running": "pods", "terminated": "pods", "complete": "jobs"}


class BenchCluster:
    """The builds 0 to `count` have finished; those that `play` adds are remembered by their last step."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.version = FIRST_VERSION + 2 * count
        self.sent_at: dict[int, dict[str, float]] = {}
        self._jobs, self._pods = templates()
        self._watches: dict[str, set[asyncio.Queue[bytes]]] = {"jobs": set(), "pods": set(), "events": set()}

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/api/v1/namespaces/kube-system", self.kube_system),
                web.get("/apis/batch/v1/namespaces/{namespace}/{resource:jobs}", self.collection),
                web.get("/apis/batch/v1/namespaces/{namespace}/jobs/{name}", self.job),
                web.get("/api/v1/namespaces/{namespace}/{resource:pods|events}", self.collection),
                web.post("/bench/play", self.play),
            ]
        )
        return application

    async def kube_system(self, _: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": "kube-system", "uid": "bench"}})

    async def collection(self, request: web.Request) -> web.StreamResponse:
        resource = request.match_info["resource"]
        if request.query.get("watch"):
            return await self.watch(request, resource)
        owner = request.query.get("labelSelector", "").partition("controller-uid=")[2]
        first, last, token = self._page(request, resource)
        if owner:
            items = [self._pod_of(number_of(owner))]
            first, token = 0, ""
        else:
            template = self._jobs["complete"] if resource == "jobs" else self._pods["terminated"]
            items = [template.of(one, FIRST_VERSION + one) for one in range(first, last)]
        meta = json.dumps({"resourceVersion": str(self.version), "continue": token})
        head = f'{{"kind":"{KINDS[resource]}","apiVersion":"v1","metadata":{meta},"items":['
        body = head.encode() + b",".join(filter(None, items)) + b"]}"
        return web.Response(body=body, content_type="application/json")

    def _page(self, request: web.Request, resource: str) -> tuple[int, int, str]:
        """First and last number of the page, and the token of the next one."""
        is_empty = resource == "events" or request.match_info["namespace"] == EMPTY_NAMESPACE
        count = 0 if is_empty else self.count
        first = int(request.query.get("continue") or 0)
        last = min(count, first + int(request.query.get("limit") or count))
        return first, last, str(last) if last < count else ""

    async def job(self, request: web.Request) -> web.Response:
        number = number_of(request.match_info["name"])
        step = "complete" if number < self.count or "complete" in self.sent_at.get(number, {}) else "created"
        body = self._jobs[step].of(number, self.version)
        return web.Response(body=body, content_type="application/json")

    def _pod_of(self, number: int) -> bytes:
        seen = self.sent_at.get(number, {})
        if number < self.count or "terminated" in seen:
            return self._pods["terminated"].of(number, self.version)
        return self._pods["running"].of(number, self.version) if "running" in seen else b""

    async def watch(self, request: web.Request, resource: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        lines: asyncio.Queue[bytes] = asyncio.Queue()
        watches = self._watches[resource]
        if request.match_info["namespace"] != EMPTY_NAMESPACE:
            watches.add(lines)
        try:
            while True:
                try:
                    line = await asyncio.wait_for(lines.get(), BOOKMARK_S)
                except TimeoutError:
                    meta = {"resourceVersion": str(self.version)}
                    line = json.dumps({"type": "BOOKMARK", "object": {"metadata": meta}}).encode() + b"\n"
                await response.write(line)
        except ConnectionResetError:
            return response
        finally:
            watches.discard(lines)

    async def play(self, request: web.Request) -> web.Response:
        """So many changes per second, for so many seconds; answers when each was sent, by the Job's uid."""
        rate, lasts_s = float(request.query["rate"]), float(request.query["seconds"])
        lives = int(rate * lasts_s / len(STEPS))
        script = sorted(
            (life * len(STEPS) / rate + position * STEP_S, self.count + life, step)
            for life, (position, step) in itertools.product(range(lives), enumerate(STEPS))
        )
        self.sent_at = {}
        begun = time.monotonic()
        for due_s, number, step in script:
            left_s = due_s - (time.monotonic() - begun)
            if left_s > 0:
                await asyncio.sleep(max(left_s, TICK_S))
            self._send(number, step)
        return web.json_response({uid_of(number): seen for number, seen in self.sent_at.items()})

    def _send(self, number: int, step: str) -> None:
        self.version += 1
        template: Template = self._jobs[step] if RESOURCE_OF[step] == "jobs" else self._pods[step]
        kind = "ADDED" if step in ("created", "running") else "MODIFIED"
        line = b'{"type":"%s","object":%s}\n' % (kind.encode(), template.of(number, self.version))
        self.sent_at.setdefault(number, {})[step] = time.time()
        for watch in self._watches[RESOURCE_OF[step]]:
            watch.put_nowait(line)


def write_kubeconfig(path: Path, url: str) -> None:
    """One context, nobody's credentials; JSON is YAML."""
    parts = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {}}],
    }
    path.write_text(json.dumps(parts))


async def serve(folder: Path, count: int) -> None:
    """Says "ready at URL" when FOLDER/kubeconfig is there."""
    runner = web.AppRunner(BenchCluster(count).application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    write_kubeconfig(folder / "kubeconfig", url)
    sys.stdout.write(f"ready at {url}, first build {name_of(0)}\n")
    sys.stdout.flush()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
