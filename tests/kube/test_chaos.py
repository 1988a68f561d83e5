"""One process of Sublet down, or all: notebooks keep running, limits hold, and metering is exact when they are back.

On a real cluster, with PostgreSQL in it. The ledger is held against what the kubelet says of the containers of the
leases, as `kubectl get pods --watch` told it to the test itself while nothing of ours may have been there to see it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sublet_hub import storage
from sublet_hub.clock import SystemClock
from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.warden import end_margin_ms
from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND
from sublet_hub.domain.flavors import Catalog
from sublet_hub.domain.lease import EndReason, Lease, LeaseState
from sublet_hub.domain.policy import Policy
from sublet_hub.storage.audit import verify_audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import LeaseFilter
from sublet_hub.storage.verification import accounts, verify_account
from tests.fixtures.kube import Image
from tests.fixtures.site import Session, wait_until
from tests.kube.installed import RELEASE, Installed, installed, merged, values
from tests.kube.killing import FORCED, OURS, PARTS, Killer
from tests.kube.kubectl import OVER, Cluster, Namespace, Object, new_namespace, phase, until
from tests.kube.postgres import Postgres
from tests.kube.witness import Witness, witness

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(600)]

USERS = 6
ROUNDS = int(os.environ.get("SUBLET_CHAOS_ROUNDS", "1"))
VICTIMS = (*["hub"] * 3, *["api"] * 3, *["leader"] * 2, "meter", *["proxy"] * 2, "database", "all")
"""What is killed in each round, in any order: that takes a minute."""

PAUSE_SECONDS = (2.0, 6.0)
"""Between two kills: what comes back needs several seconds for it, and some of them must be enough."""

LEASE_SECONDS = 25
LONGER_SECONDS = 300
GRACE_SECONDS = 3
SETTLE_SECONDS = 150
CUT_MS = 2_000
"""Containers' times are cut to the second, and a warden says no a little before the deadline."""

LEADERLESS_SECONDS = 20.0
"""A user's stop that was ordered when the hub was killed, before it deleted the pod, is carried out by the meter: if
that was killed too, by the next one, once the claim of the first has lapsed."""

VAGUE_SECONDS = 5.0
STOP_SECONDS = 30
"""How long the hub may take for a stop: it asks a cluster and an api that may be away more than once."""

ASK_SECONDS = 15
"""How long a user waits for an answer."""

log = logging.getLogger(__name__)

TINY = (Path(__file__).parents[1] / "fixtures" / "tiny_server.py").read_text()
SLOW_USER = "eve"
SLOWLY = f"import os, time; time.sleep(6 if os.environ['JUPYTERHUB_USER'] == '{SLOW_USER}' else 0)\n"
SPAWNER = f'c.LeaseKubeSpawner.cmd = ["python3", "-c", {SLOWLY + TINY!r}]'
KILLED, TERMINATED = 137, 143
"""Exit codes after SIGKILL and SIGTERM."""

GPUS = {"one": 1, "two": 2}


def chaos_values(database: Postgres) -> dict[str, Any]:
    """Short leases, small servers, two of each part that there may be two of."""
    settings = values(
        post_interval_seconds=3,
        meter_tick_seconds=0.5,
        default_gpus=4,
        default_lease_seconds=LEASE_SECONDS,
        notice_seconds=[10, 5],
        grant_ttl_seconds=30,
        stop_grace_seconds=GRACE_SECONDS,
    )
    settings["pools"][0] = {**settings["pools"][0], "capacity": 2 * USERS}
    settings["notebook"]["home"]["gib"] = 0
    settings["hub"]["extraConfig"] = SPAWNER
    return merged(settings, {"api": {"replicas": 2}, "meter": {"replicas": 2}, **database.values})


@dataclass
class Stage:
    """A release on PostgreSQL, and somebody who sees all of its pods."""

    namespace: Namespace
    release: Installed
    database: Postgres
    witness: Witness

    def sign_in(self, user: str, lease_seconds: int = LEASE_SECONDS) -> Session:
        session = self.release.sign_in(user)
        limits = [{"what": "lease_seconds", "limit": lease_seconds}, {"what": "gpus", "limit": 4}]
        with self.release.admin() as admin:
            admin.put(f"/hub/api/quotas/users/{user}", json={"limits": limits}).raise_for_status()
        session.client.timeout = httpx.Timeout(ASK_SECONDS)
        return session

    @contextmanager
    def books(self) -> Iterator[Books]:
        """The ledger itself."""
        key = bytes.fromhex(self.release.credentials()["audit_key"])
        with self.database.reached() as url:
            store = storage.open_store(url)
            try:
                yield Books(store, Catalog({}, {}), Policy(), SystemClock(), key)
            finally:
                store.close()

    def leases(self) -> list[Lease]:
        with self.books() as books, books.store.transaction(write=False) as tx:
            return list(tx.leases(LeaseFilter(), after=None, limit=1000))

    @contextmanager
    def all_gone(self) -> Iterator[None]:
        """Nothing of ours runs while the block does; the database neither."""
        self.database.stop()
        for part in PARTS:
            self.namespace.kubectl("scale", "deployment", f"{RELEASE}-{part}", "--replicas=0")
        self.namespace.kubectl("delete", "pods", "-l", OURS, *FORCED, "--wait=false")
        until(lambda: not self.namespace.all("pods", OURS), "all of ours to be gone")
        yield
        self.database.start()
        for part, count in {"hub": 1, "proxy": 1, "api": 2, "meter": 2}.items():
            self.namespace.kubectl("scale", "deployment", f"{RELEASE}-{part}", f"--replicas={count}")

    def is_over(self) -> bool:
        """Whether every lease is closed, and its pod gone."""
        try:
            leases = self.release.leases()
        except httpx.HTTPError:
            return False  # what was killed last is still coming back
        is_open = any(lease["state"] in ("granted", "active", "ending") for lease in leases)
        return not is_open and not self.release.lease_pods()


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    """One for all tests here: installing takes most of the time."""
    with new_namespace(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def stage(namespace: Namespace, image: Image) -> Iterator[Stage]:
    for kind in ("hub", "notebook", "warden"):
        image(kind)
    database = Postgres(namespace, image("test-postgres"))
    database.start()
    with witness(namespace) as seen, installed(namespace, chaos_values(database)) as release:
        yield Stage(namespace, release, database, seen)


class Researcher(threading.Thread):
    """A user who starts and stops servers, whatever happens; a platform that doesn't answer is tried again later."""

    def __init__(self, session: Session, seed: int, stop: threading.Event) -> None:
        super().__init__(name=session.user)
        self._session, self._random, self._ended = session, random.Random(seed), stop
        self.answers: Counter[str] = Counter()
        self.stopped_at: list[float] = []

    def run(self) -> None:
        while not self._ended.wait(self._random.uniform(0.5, 2)):
            try:
                self._act()
            except httpx.HTTPError as error:  # it is down just now: that is what this test is about
                self.answers[type(error).__name__] += 1

    def _act(self) -> None:
        if self._session.server() is None:
            answer = self._session.start_server(flavor=self._random.choice([*GPUS]), tier="guaranteed")
            self.answers[f"start {answer.status_code}"] += 1
        elif self._random.random() < 0.1:
            self.stopped_at.append(time.time())
            self.answers[f"stop {self._session.stop_server().status_code}"] += 1


class Reader(threading.Thread):
    """Asks the api for what needs the database, through the proxy, and keeps what it answered."""

    def __init__(self, release: Installed, stop: threading.Event) -> None:
        super().__init__(name="reader")
        self._client, self._ended = release.admin(), stop
        self._client.timeout = httpx.Timeout(ASK_SECONDS)
        self.answers: Counter[tuple[int, str]] = Counter()

    def run(self) -> None:
        while not self._ended.wait(0.3):
            try:
                answer = self._client.get("/services/sublet/api/leases", params={"limit": "1"})
            except httpx.HTTPError:
                continue  # no proxy
            self.answers[answer.status_code, answer.headers.get("content-type", "").partition(";")[0]] += 1


def test_the_ledger_equals_what_ran(stage: Stage) -> None:
    sessions = [stage.sign_in(f"user{number}") for number in range(USERS)]
    for session in sessions:
        session.start_server(flavor="one", tier="guaranteed").raise_for_status()
    stop = threading.Event()
    researchers = [Researcher(session, seed, stop) for seed, session in enumerate(sessions)]
    reader = Reader(stage.release, stop)
    for thread in (*researchers, reader):
        thread.start()
    killer = Killer(stage.namespace, stage.database, random.Random(11))
    try:
        killer.kill_each(VICTIMS * ROUNDS, PAUSE_SECONDS)
    finally:
        stop.set()
        for thread in (*researchers, reader):
            thread.join(60)
    log.info("killed %s", dict(killer.kills))
    answers: Counter[str] = sum((each.answers for each in researchers), Counter())
    log.info("users were answered %s", dict(answers))
    log.info("the api answered %s", dict(reader.answers))
    wait_until(stage.is_over, SETTLE_SECONDS, "every lease closed, and its pod gone")
    stage.database.wait()
    compare(stage, {each.name: each.stopped_at for each in researchers})
    assert sum(killer.kills.values()) >= len(VICTIMS) / 2, "most were not there to be killed"
    assert not [answer for answer in reader.answers if answer[0] == httpx.codes.INTERNAL_SERVER_ERROR]


@dataclass(frozen=True)
class Held:
    """How long a lease's container ran, by its own times. Before 1.22 kubelets lose some of the ends (`is_vague`):
    then the end is the moment at which the deletion's grace was over, give or take a few seconds."""

    started: datetime
    ended: datetime
    is_vague: bool = False

    @property
    def within_seconds(self) -> float:
        return VAGUE_SECONDS if self.is_vague else 0.01

    @property
    def seconds(self) -> float:
        return (self.ended - self.started).total_seconds()


def compare(stage: Stage, stopped_at: Mapping[str, Sequence[float]]) -> None:
    """The ledger against what ran. `stopped_at`: when each user asked for a stop, in seconds since the epoch."""
    leases = {lease.id: lease for lease in stage.leases()}
    pods = {pod["metadata"]["labels"][names.LEASE]: pod for pod in lease_pods(stage.witness)}
    held = {id_: found for id_, pod in pods.items() if (found := held_by(pod, stage.witness)) is not None}
    assert stage.namespace.cluster.version < (1, 22) or not any(each.is_vague for each in held.values())
    ended = {lease_id: lease for lease_id, lease in leases.items() if lease.state is LeaseState.ENDED}
    charged = {lease_id: lease.posted.gpu_time / GPU_TIME_PER_GPU_SECOND for lease_id, lease in leases.items()}
    reasons = Counter(lease.end_reason for lease in ended.values())
    unlike = held.keys() ^ ended.keys()
    assert not unlike, "\n".join(f"{leases.get(id_)}: {told(pods.get(id_))}" for id_ in unlike)
    sure = [lease_id for lease_id in ended if not held[lease_id].is_vague]
    total = sum(held[lease_id].seconds * gpus(ended[lease_id]) for lease_id in sure)
    log.info("%d leases, %d ended: %s; %.0f GPU-seconds", len(leases), len(ended), dict(reasons), total)

    assert len(ended) >= USERS
    for lease_id, lease in ended.items():
        ran = held[lease_id]
        assert charged[lease_id] / gpus(lease) == pytest.approx(ran.seconds, abs=ran.within_seconds), lease
        late = ran.ended.timestamp() - lease.deadline.at_ms / 1000
        margin = end_margin_ms(GRACE_SECONDS) / 1000 + ran.within_seconds
        assert late <= margin + (LEADERLESS_SECONDS if lease.end_reason is EndReason.USER else 0), lease
    assert sum(charged[lease_id] for lease_id in sure) == pytest.approx(total, rel=0.001)
    assert not any(container["restartCount"] for pod in pods.values() for container in containers(pod))
    starved = {lease.id for lease in ended.values() if is_starved(lease, pods[lease.id])}
    log.info("%d were ended since the node was too busy for their wardens to answer", len(starved))
    others = [lease for lease in ended.values() if lease.id not in starved]
    strange = [lease for lease in others if not is_explained(lease, pods[lease.id], stopped_at.get(lease.user, ()))]
    assert not strange, "\n".join(f"{lease}: {told(pods[lease.id])}" for lease in strange)
    with stage.books() as books:
        store = books.store
        assert not [fault for account in accounts(store) for fault in verify_account(store, account)]
        assert verify_audit(books, {}) is None


def told(pod: Object | None) -> str:
    """A pod, for a failing test to show."""
    return json.dumps({"metadata": pod["metadata"], "status": pod["status"]}) if pod else "no pod"


def is_explained(lease: Lease, pod: Object, stopped_at: Sequence[float]) -> bool:
    """Whether a lease ended at its deadline, or when its user asked for it, and so not for the deletions' sake.

    The deadline that counts is the one its pod has: with no meter there, it stays the grant's.
    """
    assert lease.ended_at_ms is not None
    if lease.end_reason is EndReason.LIMIT:
        return lease.ended_at_ms >= int(pod["metadata"]["annotations"][names.DEADLINE]) - CUT_MS
    # Where the api was away, nobody could say to it who had the pod deleted.
    return lease.end_reason in (EndReason.USER, EndReason.EVICTED) and any(
        -CUT_MS <= lease.ended_at_ms - 1000 * at <= 1000 * STOP_SECONDS for at in stopped_at
    )


def is_starved(lease: Lease, pod: Object) -> bool:
    """Whether the kubelet ended a notebook early, with nobody having asked for it: its probe had no answer for
    several seconds. That is for want of processor time, which nothing of what is killed here gives or takes."""
    over = notebook_of(pod).get("terminated", {})
    return lease.end_reason is EndReason.EXITED and over.get("exitCode") in (KILLED, TERMINATED)


def lease_pods(seen: Witness) -> Iterator[Object]:
    return (pod for pod in seen.last.values() if names.LEASE in pod["metadata"].get("labels", {}))


def containers(pod: Object) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = pod["status"].get("containerStatuses", ())
    return found


def held_by(pod: Object, seen: Witness) -> Held | None:
    """When a pod's notebook ran; None where it never did."""
    name, state = pod["metadata"]["name"], notebook_of(pod)
    over = state.get("terminated", {})
    if over.get("startedAt"):
        return Held(datetime.fromisoformat(over["startedAt"]), datetime.fromisoformat(over["finishedAt"]))
    if name not in seen.started:
        return None
    return Held(seen.started[name], datetime.fromisoformat(pod["metadata"]["deletionTimestamp"]), is_vague=True)


def notebook_of(pod: Object) -> Mapping[str, Any]:
    """The state of its container."""
    found: Mapping[str, Any] = next((each["state"] for each in containers(pod) if each["name"] == names.NOTEBOOK), {})
    return found


def gpus(lease: Lease) -> int:
    return GPUS[lease.flavor]


def test_a_hub_that_comes_back_finds_its_servers(stage: Stage) -> None:
    """And the proxy's routes to them; neither is there in between."""
    session = stage.sign_in("ann", LONGER_SECONDS)
    session.start_server(flavor="one", tier="guaranteed").raise_for_status()
    wait_until(lambda: reaches_server(session), 30, "the server to answer")
    killer = Killer(stage.namespace, stage.database, random.Random(1))
    for part in ("proxy", "hub"):
        killer.crash(part)
    wait_until(lambda: not reaches_server(session), 10, "the proxy to be gone")
    wait_until(lambda: reaches_server(session), 60, "the server to answer again")
    wait_until(lambda: stops_server(session), 60, "the hub to stop it")
    wait_until(stage.is_over, SETTLE_SECONDS, "the lease closed, and its pod gone")
    (lease,) = [lease for lease in stage.leases() if lease.user == "ann"]
    assert lease.end_reason is EndReason.USER


def test_a_hub_that_dies_while_it_starts_a_server_takes_it_up(stage: Stage) -> None:
    """The pod is on its way, and nobody knows its address yet."""
    session = stage.sign_in(SLOW_USER, LONGER_SECONDS)
    asking = threading.Thread(target=start_whatever_is_answered, args=(session,))
    asking.start()
    until(stage.release.lease_pods, "the pod to be made")
    Killer(stage.namespace, stage.database, random.Random(2)).crash("hub")
    asking.join(ASK_SECONDS)
    wait_until(lambda: reaches_server(session), 60, "the server to answer")
    wait_until(lambda: stops_server(session), 60, "the hub to stop it")
    wait_until(stage.is_over, SETTLE_SECONDS, "the lease closed, and its pod gone")
    (lease,) = [lease for lease in stage.leases() if lease.user == SLOW_USER]
    assert lease.end_reason is EndReason.USER


def start_whatever_is_answered(session: Session) -> None:
    with suppress(httpx.HTTPError):
        session.start_server(flavor="one", tier="guaranteed")


def reaches_server(session: Session) -> bool:
    """Whether a user's server answers its user, through the proxy."""
    try:
        return session.client.get(f"/user/{session.user}/").is_success
    except httpx.HTTPError:
        return False


def stops_server(session: Session) -> bool:
    """Whether the hub is there to stop a user's server, and does."""
    try:
        return session.server() is not None and session.stop_server().is_success
    except httpx.HTTPError:
        return False


def test_a_lease_ends_on_time_with_all_of_sublet_gone(stage: Stage) -> None:
    """And is closed with the true end, and why, by whoever comes back."""
    session = stage.sign_in("bob")
    session.start_server(flavor="two", tier="guaranteed").raise_for_status()
    lease = next(lease for lease in stage.leases() if lease.user == "bob")
    with stage.all_gone():
        gone_at = time.time()
        pod = next(pod for pod in lease_pods(stage.witness) if pod["metadata"]["labels"][names.LEASE] == lease.id)
        name = pod["metadata"]["name"]
        over = stage.namespace.wait_for_pod(name, lambda found: phase(found) in OVER, f"{name} to end")
        assert stage.release.component("meter") == []
    held = held_by(over, stage.witness)
    assert held is not None
    late = held.ended.timestamp() - lease.deadline.at_ms / 1000
    assert gone_at < lease.deadline.at_ms / 1000 - GRACE_SECONDS, "it was over before they were"
    assert -CUT_MS / 1000 <= late <= end_margin_ms(GRACE_SECONDS) / 1000
    wait_until(stage.is_over, SETTLE_SECONDS, "the lease closed, and its pod gone")
    closed = next(each for each in stage.leases() if each.id == lease.id)
    assert (closed.end_reason, closed.ended_at_ms) == (EndReason.LIMIT, held.ended.timestamp() * 1000)
    assert closed.posted.gpu_time == held.seconds * 2 * GPU_TIME_PER_GPU_SECOND
