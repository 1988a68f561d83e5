"""Dask clusters on a whole platform: each worker is a lease, and stays one whatever fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime

import httpx
import psutil
import pytest

from tests.dask.running import READY_SECONDS, DaskUser, of_lease, scheduler_of
from tests.fixtures.platform import ROOT, Platform, wait_until

NOTEBOOK_PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
DASK = NOTEBOOK_PYTHON.with_name("dask")
EXACT_SECONDS = 1.0

IDLE_SECONDS = 20
SETTINGS = {"SUBLET_DASK": "true", "SUBLET_NOTICE_SECONDS": "25,20", "SUBLET_DASK_IDLE_SECONDS": str(IDLE_SECONDS)}

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(600)]

COMPUTE = """
import json, os, sys
from dask_gateway import Gateway
gateway = Gateway(os.environ["SUBLET_DASK_URL"], auth="jupyterhub")
with gateway.new_cluster(flavor="cpu", shutdown_on_close=True) as cluster:
    cluster.scale(1)
    with cluster.get_client() as client:
        client.wait_for_workers(1, timeout=120)
        told = client.submit(
            lambda: {"sum": 1 + 1, "uid": os.getuid(), "lease": os.environ["SUBLET_LEASE_ID"]}
        ).result(60)
        secrets = sys.argv[1]
        scheduler = client.run_on_scheduler(lambda: {"uid": os.getuid(), "sees": os.path.exists(secrets)})
    print(json.dumps({"name": cluster.name, **told, "scheduler": scheduler}))
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if not DASK.exists():
        pytest.skip("Dask is not in the users' environment; `make setup` installs it")
    folder = tmp_path_factory.mktemp("platform")
    folder.chmod(0o711)
    running = Platform(folder, settings=SETTINGS).start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def alice(platform: Platform) -> DaskUser:
    return DaskUser.of(platform, "alice")


@contextmanager
def a_notebook(platform: Platform, user: DaskUser, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program of the user's, told what a server is told."""
    url = f"http://127.0.0.1:{platform.port + 85}/services/dask"
    environment = {**os.environ, "JUPYTERHUB_API_TOKEN": user.token, "SUBLET_DASK_URL": url}
    command = [str(NOTEBOOK_PYTHON), "-c", program, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        try:
            yield running
        finally:
            running.kill()


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def test_a_worker_computes_in_a_lease_of_its_users(platform: Platform, alice: DaskUser) -> None:
    with a_notebook(platform, alice, COMPUTE, str(platform.data / "secrets.json")) as ran:
        printed, failed = ran.communicate(timeout=300)
    assert ran.returncode == 0, failed + platform.log()
    told = json.loads(printed.splitlines()[-1])
    assert told["sum"] == 2
    assert told["scheduler"]["sees"] is False
    if os.geteuid() == 0:
        owner = (platform.data / "homes" / "alice").stat().st_uid
        assert owner
        assert (told["uid"], told["scheduler"]["uid"]) == (owner, owner)
    wait_until(lambda: alice.closed(told["name"]), 30, "the lease is closed")
    (lease,) = alice.leases(told["name"])
    assert (lease["id"], lease["kind"], lease["flavor"]) == (told["lease"], "worker", "cpu")
    assert (lease["state"], lease["end_reason"]) == ("ended", "user")
    wait_until(lambda: alice.status(told["name"]) == "STOPPED", READY_SECONDS, "the cluster has stopped")


def test_a_worker_is_charged_for_as_long_as_its_process_lived(alice: DaskUser) -> None:
    name = alice.begin(flavor="simulated-gpu-1x")
    assert alice.scale(name, 1).status_code == 200
    (lease_id,) = alice.await_workers(name, 1)
    alive = of_lease(lease_id)
    assert alive
    began = min(psutil.Process(pid).create_time() for pid in alive)
    alice.ask("DELETE", name).raise_for_status()
    last_seen = time.time()
    while of_lease(lease_id):
        last_seen = time.time()
        time.sleep(0.01)
    gone = time.time()
    wait_until(lambda: alice.closed(name), 30, "the lease is closed")
    (lease,) = alice.leases(name)
    assert abs(seconds(lease["started_at"]) - began) < EXACT_SECONDS
    assert last_seen - EXACT_SECONDS < seconds(lease["ended_at"]) < gone + EXACT_SECONDS


def test_who_asks_for_more_than_the_quota_is_told_which_limit_and_what_would_fit(alice: DaskUser) -> None:
    name = alice.begin(flavor="simulated-gpu-1x", tier="surplus")
    try:
        refused = alice.scale(name, 3)
        assert refused.status_code == 409
        said = refused.json()["error"]
        assert "2 GPUs at once in the default quota" in said
        assert "2 more workers (2 GPUs) would fit" in said
        assert alice.scale(name, 2).status_code == 200
        alice.await_workers(name, 2)
        assert {lease["tier"] for lease in alice.leases(name)} == {"surplus"}
        again = alice.ask("POST", "", {"cluster_options": {"flavor": "simulated-gpu-1x"}})
        assert again.status_code == 422
        assert "2 GPUs at once" in again.json()["error"]
    finally:
        alice.stop(name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"flavor": "none-such"}, "There is no flavor"),
        ({"flavor": "simulated-gpu-2x"}, "A Dask worker has one GPU"),
        ({"account": "user:bob"}, "You can't have user:bob pay"),
        ({"account": "group:strangers"}, "You can't have group:strangers pay"),
        ({"worker_cmd": "/bin/sh"}, "Unknown fields"),
        ({"flavor": 1}, "flavor"),
    ],
)
def test_what_a_user_may_not_have_is_refused_in_words(
    alice: DaskUser, options: dict[str, object], words: str
) -> None:
    refused = alice.ask("POST", "", {"cluster_options": options})
    assert refused.status_code == 422
    assert words in refused.json()["error"]


def test_two_clusters_that_grow_at_once_stay_within_the_quota(platform: Platform) -> None:
    bob = DaskUser.of(platform, "bob")
    names = [bob.begin(flavor="cpu"), bob.begin(flavor="cpu")]
    try:
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda name: bob.scale(name, 2), names))
        wait_until(lambda: sum(len(bob.active(name)) for name in names) == 3, READY_SECONDS, "three workers run")
        # What there is no room for is asked for again and again; it is no failure.
        heartbeats = time.monotonic() + 12
        while time.monotonic() < heartbeats:
            open_now = [one for one in platform.leases(user="bob") if one["state"] in {"granted", "active", "ending"}]
            assert len(open_now) <= 3
            time.sleep(0.2)
        assert [bob.status(name) for name in names] == ["RUNNING", "RUNNING"]
        full, other = sorted(names, key=lambda name: -len(bob.active(name)))
        bob.stop(full)
        bob.await_workers(other, 2)
    finally:
        for name in names:
            bob.stop(name)


def test_nobody_else_sees_or_reaches_a_cluster(platform: Platform, alice: DaskUser) -> None:
    name = alice.begin(flavor="cpu")
    try:
        carol = DaskUser.of(platform, "carol")
        assert carol.ask("GET", "").json() == {}
        assert carol.ask("GET", name).status_code == 403
        assert carol.scale(name, 1).status_code == 403
        assert carol.ask("POST", f"{name}/adapt", {"minimum": 1, "maximum": 1}).status_code == 403
        assert carol.ask("DELETE", name).status_code == 403
        heartbeat = {"Authorization": f"token {carol.token}"}
        assert carol.ask("POST", f"{name}/heartbeat", {"count": 1}, **heartbeat).status_code == 401
        # Dask-Gateway answers 500 where the hub doesn't know a token.
        assert carol.ask("GET", name, Authorization="jupyterhub nonsense").status_code >= 400
        assert carol.ask("GET", name, Authorization="").status_code == 401
        scheduler = scheduler_of(name)
        assert scheduler is not None
        assert pages_of(scheduler) == set()
    finally:
        alice.stop(name)


def test_the_dashboard_is_for_its_user_alone_and_asks_for_a_sign_in(platform: Platform, alice: DaskUser) -> None:
    name = alice.begin(flavor="cpu")
    try:
        path = f"/services/dask{alice.ask('GET', name).json()['dashboard_route']}"
        assert path == f"/services/dask/clusters/{name}/status"
        stranger = httpx.get(f"{platform.url}{path}", trust_env=False)
        assert (stranger.status_code, "/oauth2/authorize" in stranger.headers["location"]) == (302, True)
        by_token = alice.session.client.get(path)
        assert by_token.status_code == 302, "a session is needed, which a token is not"
        with platform.browser("alice") as browser:
            page = browser.get(path)
            assert (page.status_code, page.url.path) == (200, path)
            assert "Dask" in page.text
            assert browser.get(f"/services/dask/clusters/{name}/statics/css/base.css").status_code == 200
            assert browser.get(f"/services/dask/clusters/{'0' * 32}/status").status_code == 404
            (platform.data / "dask" / "pages" / name / "pages").unlink()
            (platform.data / "dask" / "pages" / name / "pages").symlink_to(platform.data / "secrets.json")
            assert browser.get(path).status_code == 502
        with platform.browser("carol") as browser:
            assert browser.get(path).status_code == 404
    finally:
        alice.stop(name)


def pages_of(pid: int) -> set[int]:
    """The ports of a process where anybody gets a page by HTTP, other than word that it is healthy."""
    found = set()
    for connection in psutil.Process(pid).net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN:
            continue
        port = connection.laddr.port
        for path in ("/", "/status", "/info/main/workers.html", "/json/counts.json", "/api/comm"):
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=3, trust_env=False)
            except httpx.HTTPError:
                continue
            if answer.status_code < 400:
                found.add(port)
    return found


def test_while_the_api_is_away_workers_go_on_and_none_starts(platform: Platform, alice: DaskUser) -> None:
    name = alice.begin(flavor="cpu")
    try:
        assert alice.scale(name, 1).status_code == 200
        before = alice.await_workers(name, 1)
        api = platform.part("api")
        assert api is not None
        api.send_signal(signal.SIGSTOP)
        try:
            refused = alice.scale(name, 2)
            assert refused.status_code == 409
            assert "does not answer" in refused.json()["error"]
        finally:
            api.send_signal(signal.SIGCONT)
        assert alice.status(name) == "RUNNING"
        assert alice.active(name) == before
        wait_until(lambda: alice.scale(name, 2).status_code == 200, 60, "leases are granted again")
        assert set(before) < set(alice.await_workers(name, 2))
    finally:
        alice.stop(name)


def test_a_killed_gateway_finds_its_clusters_and_their_workers_again(platform: Platform, alice: DaskUser) -> None:
    name = alice.begin(flavor="cpu")
    assert alice.scale(name, 1).status_code == 200
    before = alice.await_workers(name, 1)
    assert platform.kill("dask")
    wait_until(lambda: platform.part("dask") is None, 10, "the gateway is gone")
    wait_until(lambda: alice.ask("GET", name).status_code == 200, READY_SECONDS, "the gateway is back")
    assert alice.status(name) == "RUNNING"
    wait_until(lambda: alice.scale(name, 2).status_code == 200, 60, "the scheduler is reached again")
    assert set(before) < set(alice.await_workers(name, 2))
    alice.stop(name)
    wait_until(lambda: alice.closed(name), 30, "the leases are closed")
    assert not any(of_lease(str(lease["id"])) for lease in alice.leases(name))


def test_workers_end_with_a_scheduler_that_is_killed(alice: DaskUser) -> None:
    name = alice.begin(flavor="cpu")
    assert alice.scale(name, 2).status_code == 200
    leases = alice.await_workers(name, 2)
    scheduler = scheduler_of(name)
    assert scheduler is not None
    os.kill(scheduler, signal.SIGKILL)
    # It is seen at once; that its heartbeats are missing would be noticed after 45 s.
    wait_until(lambda: alice.status(name) == "FAILED", 30, "the cluster is given up")
    wait_until(lambda: alice.closed(name), 30, "the leases are closed")
    assert not any(of_lease(lease) for lease in leases)


def test_a_worker_that_is_killed_is_replaced_by_one_in_a_lease_of_its_own(alice: DaskUser) -> None:
    name = alice.begin(flavor="cpu")
    try:
        assert alice.scale(name, 1).status_code == 200
        (before,) = alice.await_workers(name, 1)
        for pid in of_lease(before):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_until(lambda: alice.active(name) not in ([], [before]), READY_SECONDS, "another worker runs")
        (after,) = alice.await_workers(name, 1)
        ended = alice.lease(name, before)
        assert after != before
        assert (ended["state"], alice.status(name)) == ("ended", "RUNNING")
    finally:
        alice.stop(name)


RETIRE = """
import json, os, sys
from dask_gateway import Gateway
gateway = Gateway(os.environ["SUBLET_DASK_URL"], auth="jupyterhub")
cluster = gateway.connect(sys.argv[1])
with cluster.get_client() as client:
    client.wait_for_workers(2, timeout=120)
    lease_of = client.run(lambda: os.environ["SUBLET_LEASE_ID"])
    worker = next(address for address, lease in lease_of.items() if lease == sys.argv[2])
    kept = client.scatter({"kept": 42}, workers=[worker])["kept"]
    print(json.dumps(client.who_has(kept)), flush=True)
    sys.stdin.readline()
    holders = [address for each in client.who_has(kept).values() for address in each]
    print(json.dumps({"value": kept.result(timeout=30), "moved": worker not in holders}))
"""


def test_a_worker_whose_lease_is_reclaimed_hands_on_what_it_holds(platform: Platform, alice: DaskUser) -> None:
    name = alice.begin(flavor="cpu")
    try:
        assert alice.scale(name, 2).status_code == 200
        reclaimed, kept = alice.await_workers(name, 2)
        with a_notebook(platform, alice, RETIRE, name, reclaimed) as notebook:
            assert notebook.stdin is not None
            assert notebook.stdout is not None
            assert notebook.stdout.readline(), platform.log()
            with platform.admin() as admin:
                stop = f"/services/sublet/api/leases/{reclaimed}/stop"
                ordered = admin.post(stop, json={"why": "a test"}, headers={"Idempotency-Key": reclaimed})
                deadline = seconds(ordered.raise_for_status().json()["deadline_at"])
            wait_until(lambda: reclaimed not in alice.active(name), 60, "the reclaimed worker has ended")
            assert kept in alice.active(name)
            notebook.stdin.write("\n")
            notebook.stdin.flush()
            told = json.loads(notebook.stdout.readline())
        assert told == {"value": 42, "moved": True}
        wait_until(lambda: alice.lease(name, reclaimed)["state"] == "ended", 30, "the lease is closed")
        ended = alice.lease(name, reclaimed)
        assert ended["end_reason"] == "admin"
        assert seconds(ended["ended_at"]) < deadline
        assert alice.status(name) == "RUNNING"
        assert len(alice.await_workers(name, 2)) == 2
    finally:
        alice.stop(name)


WORK = """
import os, sys, time
from dask_gateway import Gateway
with Gateway(os.environ["SUBLET_DASK_URL"], auth="jupyterhub").connect(sys.argv[1]).get_client() as client:
    print(client.submit(lambda: 2 + 2).result(60))
"""


def test_a_cluster_that_computes_nothing_gets_a_notice_and_goes_on_if_it_is_used(
    platform: Platform, alice: DaskUser
) -> None:
    empty = alice.begin(flavor="cpu")
    name = alice.begin(flavor="cpu")
    try:
        assert alice.scale(name, 1).status_code == 200
        (lease,) = alice.await_workers(name, 1)
        wait_until(lambda: alice.lease(name, lease)["deadline_reason"] == "idle", 3 * IDLE_SECONDS, "it is to end")
        assert {each["reason"] for each in alice.notices(lease)} == {"idle"}
        assert alice.status(name) == "RUNNING"
        with a_notebook(platform, alice, WORK, name) as notebook:
            printed, failed = notebook.communicate(timeout=120)
        assert printed.strip() == "4", failed
        wait_until(lambda: alice.lease(name, lease)["deadline_reason"] != "idle", 20, "its end is taken back")
        assert alice.active(name) == [lease]
        wait_until(lambda: alice.status(empty) == "STOPPED", 3 * IDLE_SECONDS, "a cluster without workers is stopped")
    finally:
        alice.stop(name)


def test_a_cluster_outlives_its_users_server(platform: Platform) -> None:
    dave = DaskUser.of(platform, "dave")
    dave.session.start_server(flavor="cpu")
    wait_until(lambda: (dave.session.server() or {}).get("ready"), 90, "the server is ready")
    name = dave.begin(flavor="cpu")
    assert dave.scale(name, 1).status_code == 200
    (lease,) = dave.await_workers(name, 1)
    assert dave.session.stop_server().status_code in {202, 204}
    wait_until(lambda: dave.session.server() is None, 60, "the server has ended")
    assert dave.active(name) == [lease]
    dave.stop(name)
    wait_until(lambda: dave.closed(name), 30, "the lease is closed")
