"""The gateway's questions over real HTTP: paging, absence, deletion, credentials, TLS, and every way to get
no answer.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builds.kube import (
    Cluster,
    ClusterConfig,
    ClusterError,
    ClusterUnreachable,
    Conflict,
    Malformed,
    ServerFault,
    Unauthorized,
    VersionExpired,
)
from tests.kube.conftest import Connect
from tests.kube.pki import Pki
from tests.kube.replay import entries, recorded_answer
from tests.kube.server import Answer, Request, ScriptedServer, held_open

EXPIRED = Answer(410, b'{"kind":"Status","code":410,"reason":"Expired","message":"the token is too old"}')


def job(name: str, version: int = 5) -> dict[str, Any]:
    """The least that an API server stores of a Job."""
    meta = {
        "name": name,
        "namespace": "builds",
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": "2026-11-23T04:00:00Z",
    }
    return {"metadata": meta, "spec": {}, "status": {}}


def page(*items: dict[str, Any], version: int = 9, token: str = "") -> Answer:
    """One page of a list."""
    meta = {"resourceVersion": str(version), "continue": token}
    return Answer(body=json.dumps({"metadata": meta, "items": items}).encode())


class TestListing:
    def test_all_pages_are_read_with_selector_and_limit(
        self, server: ScriptedServer, connect: Connect
    ) -> None:
        server.on("GET", "/jobs", page(job("a"), token="t1"))
        server.on("GET", "/jobs", page(job("b"), version=12), **{"continue": "t1"})
        server.on("GET", "/pods", page())
        listing = connect(server, selector="app=x", page_size=1).snapshots("builds")
        assert [one.name for one in listing.jobs] == ["a", "b"]
        assert listing.version == 9, "all pages are of the first one's version"
        first, second, pods = server.requests
        assert first.query == {"limit": "1", "labelSelector": "app=x"}
        assert second.query == {"limit": "1", "labelSelector": "app=x", "continue": "t1"}
        assert pods.query["labelSelector"] == "batch.kubernetes.io/controller-uid"
        assert first.headers["authorization"] == "Bearer a-token"

    def test_an_expired_page_token_begins_the_list_again(
        self, server: ScriptedServer, connect: Connect
    ) -> None:
        server.on("GET", "/jobs", page(job("old"), token="t1"), page(job("new"), version=20))
        server.on("GET", "/jobs", EXPIRED, **{"continue": "t1"})
        listing = connect(server).list_jobs("builds")
        assert [one.name for one in listing.items] == ["new"]
        assert listing.version == 20

    def test_a_list_that_expires_again_and_again_is_an_error_not_a_part(
        self, server: ScriptedServer, connect: Connect
    ) -> None:
        server.on("GET", "/jobs", page(job("a"), token="t1"))
        server.on("GET", "/jobs", EXPIRED, **{"continue": "t1"})
        with pytest.raises(VersionExpired):
            connect(server).list_jobs("builds")
        assert len(server.requests) == 6

    def test_a_failing_second_page_is_an_error_not_a_part(
        self, server: ScriptedServer, connect: Connect
    ) -> None:
        server.on("GET", "/jobs", page(job("a"), token="t1"))
        server.on("GET", "/jobs", Answer(500, b"boom"), **{"continue": "t1"})
        with pytest.raises(ServerFault):
            connect(server).snapshots("builds")

    def test_failing_pods_fail_the_listing(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("GET", "/jobs", page(job("a")))
        server.on("GET", "/pods", Answer(503, b"boom"))
        with pytest.raises(ServerFault):
            connect(server).snapshots("builds")

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"ok",
            b"{}",
            b"[]",
            b'{"metadata":{}}',
            b'{"metadata":{"resourceVersion":"x"},"items":[]}',
            b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{}}]}',
            b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":7}}]}',
            b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"\xff"}}]}',
            b'{"metadata":{"resourceVersion":"1"},"items":[',
        ],
    )
    def test_an_answer_that_is_no_list_is_malformed_not_empty(
        self, server: ScriptedServer, connect: Connect, body: bytes
    ) -> None:
        server.on("GET", "/jobs", Answer(body=body))
        with pytest.raises(Malformed):
            connect(server).list_jobs("builds")

    def test_a_page_that_names_itself_ends(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("GET", "/jobs", page(job("a"), token="same"))
        with pytest.raises(Malformed, match="names itself"):
            connect(server).list_jobs("builds")

    def test_null_items_are_none(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("GET", "/events", Answer(body=b'{"metadata":{"resourceVersion":"1"},"items":null}'))
        assert connect(server).list_events("builds").items == ()


class TestOneJob:
    def test_none_if_and_only_if_the_server_says_so(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("GET", "/jobs/nope", recorded_answer("06-not-found-and-invalid", 1))
        assert connect(server).get("builds", "nope") is None

    @pytest.mark.parametrize("answer", [Answer(404, b"404 page not found"), Answer(500), Answer(200, b"{}")])
    def test_anything_else_is_unknown(self, server: ScriptedServer, connect: Connect, answer: Answer) -> None:
        server.on("GET", "/jobs/nope", answer)
        with pytest.raises(ClusterError):
            connect(server).get("builds", "nope")

    def test_names_cannot_reach_another_path(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("GET", "/jobs/../../secrets?x", Answer(body=json.dumps(job("a")).encode()))
        server.on("GET", "/pods", page())
        connect(server).get("builds", "../../secrets?x")
        assert server.requests[0].path == "/apis/batch/v1/namespaces/builds/jobs/../../secrets?x"
        assert server.requests[0].query == {}

    def test_a_container_that_could_not_be_started_has_no_start(
        self, server: ScriptedServer, connect: Connect
    ) -> None:
        never = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}
        pod = job("p") | {
            "status": {"containerStatuses": [{"name": "kaniko", "state": {"terminated": never}}]}
        }
        server.on("GET", "/pods", page(pod))
        (found,) = connect(server).pods_of("builds", "uid-a")
        assert found.containers[0].first_started_at is None
        assert found.containers[0].exit_code == 128
        assert server.requests[0].query["labelSelector"] == "batch.kubernetes.io/controller-uid=uid-a"


class TestDeletion:
    def test_policy_and_preconditions_are_always_sent(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("DELETE", "/jobs/a", recorded_answer("07b-delete-background", deletion_of("07b")))
        connect(server).delete_job("builds", "a", uid="u-1", version=77)
        sent = json.loads(server.requests[0].body)
        assert sent["propagationPolicy"] == "Background"
        assert sent["preconditions"] == {"uid": "u-1", "resourceVersion": "77"}

    def test_a_failed_precondition_is_a_conflict(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("DELETE", "/jobs/a", conflict())
        with pytest.raises(Conflict):
            connect(server).delete_job("builds", "a", uid="u-1", version=77)


def deletion_of(prefix: str) -> int:
    """The id of the first DELETE in the recording of background deletion."""
    found = entries(f"{prefix}-delete-background")
    return int(next(one["id"] for one in found if one.get("request", {}).get("method") == "DELETE"))


def conflict() -> Answer:
    """The recorded answer to a deletion with a wrong uid."""
    found = entries("08-delete-preconditions")
    number = next(one["id"] for one in found if one.get("response", {}).get("status") == 409)
    return recorded_answer("08-delete-preconditions", number)


class TestCredentials:
    def test_a_401_reads_the_token_again_once(self, server: ScriptedServer, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("old")
        config = server.kubeconfig(tmp_path, user={"tokenFile": str(token)})
        cluster = Cluster.connect(ClusterConfig("kubeconfig", config))
        server.on("GET", "/jobs", accepting("Bearer new", page()))
        token.write_text("new")
        assert cluster.list_jobs("builds").items == ()
        assert [one.headers["authorization"] for one in server.requests] == ["Bearer old", "Bearer new"]
        cluster.list_jobs("builds")
        assert server.requests[-1].headers["authorization"] == "Bearer new", "the new one is kept"

    def test_a_second_401_is_told(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("GET", "/jobs", recorded_answer("13-auth-and-bad-requests", 1))
        with pytest.raises(Unauthorized):
            connect(server).list_jobs("builds")
        assert len(server.requests) == 2

    def test_an_exec_plugin_is_asked(self, server: ScriptedServer, tmp_path: Path) -> None:
        plugin = tmp_path / "plugin"
        credential = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": {"token": "from-plugin"},
        }
        plugin.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
        plugin.chmod(0o700)
        command = {"apiVersion": credential["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}
        config = server.kubeconfig(tmp_path, user={"exec": command})
        server.on("GET", "/jobs", accepting("Bearer from-plugin", page()))
        assert Cluster.connect(ClusterConfig("kubeconfig", config)).list_jobs("builds").items == ()

    @pytest.mark.parametrize(
        "text",
        [
            None,
            "",
            "just words",
            "- 1\n- 2\n",
            ":\n\t:",
            "apiVersion: v1\nkind: Config\n",
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: []\nclusters: []\nusers: []\n",
        ],
    )
    def test_a_bad_kubeconfig_is_one_sentence_that_names_it(self, text: str | None, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        if text is not None:
            path.write_text(text)
        with pytest.raises(ClusterError, match=r"^the kubeconfig .*config\.yaml ") as caught:
            Cluster.connect(ClusterConfig("kubeconfig", path))
        assert "\n" not in str(caught.value)

    def test_outside_of_a_pod_there_is_no_service_account(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        with pytest.raises(ClusterError, match=r"^the service account of this pod cannot be used: "):
            Cluster.connect(ClusterConfig("incluster"))


def accepting(authorization: str, then: Answer) -> Any:
    """Answers `then` to whoever has the right token, else 401."""
    refused = recorded_answer("13-auth-and-bad-requests", 1)

    def answer(request: Request) -> Answer:
        return then if request.headers.get("authorization") == authorization else refused

    return answer


class TestNoAnswer:
    def test_refused(self, connect: Connect) -> None:
        with ScriptedServer() as server:
            cluster = connect(server)
        with pytest.raises(ClusterUnreachable, match=r"connection refused"):
            cluster.list_jobs("builds")

    def test_a_name_that_does_not_resolve(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        with ScriptedServer() as server:
            text = (
                server.kubeconfig(tmp_path).read_text().replace(server.url, "http://no.such.host.invalid:1")
            )
        path.write_text(text)
        with pytest.raises(ClusterUnreachable, match="does not resolve"):
            Cluster.connect(ClusterConfig("kubeconfig", path)).identity()

    def test_silence_ends_with_the_read_timeout(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("GET", "/pods", Answer(delay_s=30))
        begun = time.monotonic()
        with pytest.raises(ClusterUnreachable, match=r"silent for 0\.3 s"):
            connect(server, read_timeout_s=0.3).pods_of("builds", "uid")
        assert time.monotonic() - begun < 2
        assert len(server.requests) == 1

    def test_a_body_in_drips_ends_too(self, server: ScriptedServer, connect: Connect) -> None:
        def drips() -> Iterator[bytes]:
            while not server.closing.wait(0.05):
                yield b" "

        server.on("GET", "/pods", Answer(chunks=drips()))
        begun = time.monotonic()
        with pytest.raises(ClusterUnreachable, match=r"did not end within 0\.9 s"):
            connect(server, read_timeout_s=0.3).pods_of("builds", "uid")
        assert time.monotonic() - begun < 3

    def test_a_body_that_stops_half_way(self, server: ScriptedServer, connect: Connect) -> None:
        server.on("GET", "/pods", Answer(chunks=held_open(server, b'{"metadata"')))
        with pytest.raises(ClusterUnreachable, match="silent"):
            connect(server, read_timeout_s=0.3).pods_of("builds", "uid")

    @pytest.mark.parametrize("chunks", [[b'{"metadata":{"resourceVersion":"1"},"items":[]}'], [b"{"]])
    def test_a_body_that_breaks_off_is_not_taken_for_whole(
        self, server: ScriptedServer, connect: Connect, chunks: list[bytes]
    ) -> None:
        server.on("GET", "/jobs", Answer(chunks=chunks, breaks_off=True))
        with pytest.raises(ClusterUnreachable, match="broke off"):
            connect(server).list_jobs("builds")

    def test_a_fixed_length_that_is_not_reached(self, server: ScriptedServer, connect: Connect) -> None:
        body = b'{"metadata":{"resourceVersion":"1"},"items":[]}'
        answer = Answer(body=body, headers={"Content-Length": "1000"}, breaks_off=True)
        server.on("GET", "/jobs", answer)
        with pytest.raises(ClusterUnreachable):
            connect(server).list_jobs("builds")


class TestTls:
    def test_with_its_ca_and_a_client_certificate(self, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        with ScriptedServer(pki.server_context()) as server:
            server.on("GET", "/jobs", page())
            user = {"client-certificate": str(pki.client), "client-key": str(pki.client)}
            path = server.kubeconfig(tmp_path, user=user, authority=pki.ca)
            cluster = Cluster.connect(ClusterConfig("kubeconfig", path))
            assert cluster.list_jobs("builds").version == 9
            assert cluster.server_url == server.url
            for file in (pki.ca, pki.client):
                file.unlink()
            cluster.close()
            assert cluster.list_jobs("builds").version == 9, "certificates are read once"

    def test_an_unknown_ca_is_refused(self, tmp_path: Path) -> None:
        with ScriptedServer(Pki(tmp_path).server_context()) as server:
            cluster = Cluster.connect(ClusterConfig("kubeconfig", server.kubeconfig(tmp_path)))
            with pytest.raises(ClusterUnreachable, match="TLS with the API server failed"):
                cluster.list_jobs("builds")
            assert server.requests == []

    def test_a_ca_that_is_none(self, tmp_path: Path) -> None:
        ca = tmp_path / "ca.pem"
        ca.write_text("not a certificate")
        with ScriptedServer(Pki(tmp_path).server_context()) as server:
            path = server.kubeconfig(tmp_path, authority=ca)
            with pytest.raises(ClusterError, match="unusable certificates"):
                Cluster.connect(ClusterConfig("kubeconfig", path))
