"""Promise 1, exact: whatever of the platform is killed, and whenever, the ledger equals what really ran.

The whole platform runs; a dozen servers start, stop and exit; for a minute its processes are killed at random with
SIGKILL, `sublet up` itself among them, and a supervising parent now and then. Then the ledger is held against two
accounts that none of the killed processes wrote: the parents' records, and what each server noted of its own life.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sublet_hub import storage
from sublet_hub.cluster import records
from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND
from sublet_hub.domain.lease import Lease, LeaseState
from sublet_hub.storage.store import LeaseFilter, Store
from sublet_hub.storage.verification import accounts, verify_account
from tests.fixtures.platform import Platform, Session, wait_until

USERS = 12
SECONDS = float(os.environ.get("SUBLET_CHAOS_SECONDS", "70"))
PARTS = (*["hub", "api", "meter"] * 4, "gateway", "proxy", "up")
"""What is killed, as often as it stands here: `sublet up` seldom, since everything has to start again then."""

FLAVORS = """\
[[pools]]
name = "simulated-gpu"
gpu_model = "Simulated GPU"
gpu_memory_gib = 16.0
simulated = true
devices = [{devices}]

[[flavors]]
name = "one"
title = "1 x Simulated GPU"
pool = "simulated-gpu"
gpus = 1
cpus = 1
memory_gib = 1
prices = {{ guaranteed = 2000000 }}

[[flavors]]
name = "two"
title = "2 x Simulated GPU"
pool = "simulated-gpu"
gpus = 2
cpus = 1
memory_gib = 1
prices = {{ guaranteed = 2000000 }}
"""

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    settings = {
        "SUBLET_POST_INTERVAL_SECONDS": "3",
        "SUBLET_METER_TICK_SECONDS": "0.5",
        "SUBLET_DEFAULT_GPUS": "4",
        "SUBLET_DEFAULT_LEASE_SECONDS": "25",
        "SUBLET_NOTICE_SECONDS": "10,5",
        "SUBLET_RESTART_BACKOFF_MAX_SECONDS": "2",
        "SUBLET_GRANT_TTL_SECONDS": "20",
    }
    devices = ", ".join(f'"SIM-{n}"' for n in range(2 * USERS))
    made = Platform(tmp_path, settings).with_catalogue(FLAVORS.format(devices=devices)).start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


class Researchers(threading.Thread):
    """Users who start and stop servers, whatever happens; a platform that doesn't answer is tried again later."""

    def __init__(self, sessions: list[Session], stop: threading.Event) -> None:
        super().__init__(name="researchers")
        self._sessions, self._stop_asked = sessions, stop
        self._random = random.Random(7)

    def run(self) -> None:
        while not self._stop_asked.wait(0.3):
            session = self._random.choice(self._sessions)
            try:
                if session.server() is None:
                    session.start_server(flavor=self._random.choice(["one", "two"]), tier="guaranteed")
                elif self._random.random() < 0.3:
                    session.stop_server()
            except httpx.HTTPError:
                continue  # it is down just now: that is what this test is about


def test_the_ledger_equals_what_ran(platform: Platform) -> None:
    sessions = [platform.sign_in(f"user{n}") for n in range(USERS)]
    for session in sessions:
        session.start_server(flavor="one", tier="guaranteed").raise_for_status()
    stop = threading.Event()
    researchers = Researchers(sessions, stop)
    researchers.start()
    kills = kill_at_random(platform, SECONDS)
    stop.set()
    researchers.join(120)
    if platform.process is None or platform.process.poll() is not None:
        platform.start()
    settle(platform)
    platform.stop()
    with_store(platform, lambda store: compare(platform, store, kills))


def kill_at_random(platform: Platform, seconds: float) -> dict[str, int]:
    """Kill something every second or two; gives how often each was killed."""
    chance, kills = random.Random(11), dict.fromkeys((*PARTS, "parent"), 0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        victim = chance.choice(PARTS)
        if victim == "up" and platform.kill("up"):
            kills["up"] += 1
            platform.start()
        elif victim != "up":
            kills[victim] += platform.kill(victim)
        if chance.random() < 0.15:
            kills["parent"] += kill_a_parent(platform, chance)
        threading.Event().wait(chance.uniform(0.5, 2.0))  # the interval itself is what is wanted
    return kills


def kill_a_parent(platform: Platform, chance: random.Random) -> bool:
    """SIGKILL one supervising parent: its server must end with it, and its end be found out."""
    found = [records.read_record(folder).started for folder in (platform.data / "leases").iterdir()]
    running = [started for started in found if started is not None]
    if not running:
        return False
    try:
        os.kill(chance.choice(running).parent_pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def settle(platform: Platform) -> None:
    """Wait until every lease has ended (they last 25 s at most) and the meter has closed it."""

    def closed() -> bool:
        try:
            leases = platform.leases()
        except httpx.HTTPError:
            return False  # what was killed last is still coming back
        return not any(lease["state"] in ("granted", "active", "ending") for lease in leases)

    wait_until(closed, 120, f"every lease is closed\n{platform.log()}")


def with_store(platform: Platform, look: Callable[[Store], None]) -> None:
    store = storage.open_store(f"sqlite:///{platform.data}/sublet.sqlite")
    try:
        look(store)
    finally:
        store.close()


def compare(platform: Platform, store: Store, kills: dict[str, int]) -> None:
    with store.transaction(write=False) as tx:
        leases = tx.leases(LeaseFilter(), after=None, limit=1000)
    ended = [lease for lease in leases if lease.state is LeaseState.ENDED]
    recorded, lived = {}, {}
    for lease in ended:
        recorded[lease.id] = recorded_seconds(platform, lease)
        lived[lease.id] = lived_seconds(platform, lease)
    charged = {lease.id: lease.posted.gpu_time / GPU_TIME_PER_GPU_SECOND for lease in ended}
    gpus = {lease.id: lease.parts / 7000 for lease in ended}
    total = sum(recorded[lease.id] * gpus[lease.id] for lease in ended)
    log.info("killed %s; %d leases of %.3f GPU-seconds", kills, len(ended), total)

    assert len(ended) >= USERS
    assert sum(kills.values()) > SECONDS / 6
    for lease in ended:
        assert abs(charged[lease.id] - recorded[lease.id] * gpus[lease.id]) <= gpus[lease.id], lease
        assert abs(recorded[lease.id] - lived[lease.id]) <= 1, lease
    assert abs(sum(charged.values()) - total) <= total / 1000
    voided = {lease.id for lease in leases if lease.state is LeaseState.VOID}
    assert not [lease_id for lease_id in voided if life_of(platform, lease_id) is not None], (
        "what ran was not charged"
    )
    assert not [fault for account in accounts(store) for fault in verify_account(store, account)]
    assert {path.name for path in (platform.data / "leases").iterdir()} == {"closed"}


def recorded_seconds(platform: Platform, lease: Lease) -> float:
    """How long the server ran by its parent's record; to its last sign of life where the parent was killed."""
    folder = platform.data / "leases" / "closed" / lease.id
    record = records.read_record(folder)
    assert record.started is not None, lease
    end = record.ended.at_ms if record.ended else records.read_alive(folder)
    assert end is not None
    return (end - record.started.at_ms) / 1000


def life_of(platform: Platform, lease_id: str) -> Path | None:
    return next(iter((platform.data / "homes").glob(f"*/life-{lease_id}")), None)


def lived_seconds(platform: Platform, lease: Lease) -> float:
    """How long the server lived by its own notes; 0 if it was killed before it could write any."""
    life = life_of(platform, lease.id)
    times = [int(line) for line in life.read_text().splitlines()] if life else []
    return (times[-1] - times[0]) / 1000 if times else 0.0
