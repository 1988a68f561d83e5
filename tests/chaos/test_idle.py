"""An idle policy on the whole platform: whose lease ends for being idle, and whose doesn't. Real servers, records of
their own extensions, and an NVML that shows what each test says. After the shortest time that a policy may have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import hostile
from tests.fixtures.cells import begin_cell, run_cell, start_kernel, start_server
from tests.fixtures.nvml import compile_nvml
from tests.fixtures.platform import Platform, Session

API = "/services/sublet/api"
CATALOG = """\
[[pools]]
name = "gpu"
gpu_model = "GPU of a test"
gpu_memory_gib = 80.0
devices = ["GPU-1", "GPU-2", "GPU-3", "GPU-4", "GPU-5", "GPU-6"]

[pools.idle]
after_minutes = 1

[[flavors]]
name = "one"
title = "1 x GPU of a test"
pool = "gpu"
gpus = 1
cpus = 1
memory_gib = 2
prices = { guaranteed = 2000000, surplus = 1000000 }
"""
NVML_CONFIG = """\
c.LocalLeaseSpawner.environment = {{"LD_LIBRARY_PATH": {folder!r}, "NVML_PERCENT": "0"}}
c.LocalLeaseSpawner.sublet_readable.append({folder!r})
"""
TIERS = dict.fromkeys(("ida", "kim", "ben", "mo", "mal"), "surplus") | {"gus": "guaranteed"}
IDLE_NOTICE_SECONDS = 60
"""The least that an idle lease is told ahead; this platform's own warnings are shorter."""
WORK = "import time\ntime.sleep(3600)"
SOURCE = f"exec(compile({Path(hostile.__file__).read_text(encoding='utf-8')!r}, 'hostile', 'exec'))\n"
FORGE = "threading.Thread(target=forge, args=({others!r},), daemon=True).start()"

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]


class Played:
    """The leases of six users, side by side, and what came of them."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.sessions: dict[str, Session] = {user: platform.sign_in(user) for user in TIERS}
        self.ids: dict[str, str] = {}
        self.kernels: dict[str, str] = {}
        self.records: dict[str, list[dict[str, Any]]] = {}
        self.notices: dict[str, list[dict[str, Any]]] = {}
        self.leases: dict[str, dict[str, Any]] = {}
        self.forged: dict[str, int] = {}

    def read(self, user: str, path: str) -> Any:
        return self.sessions[user].client.get(f"{API}/{path}").raise_for_status().json()

    def lease(self, user: str) -> dict[str, Any]:
        found: dict[str, Any] = self.read(user, f"leases/{self.ids[user]}")
        return found

    def play(self) -> None:
        """ida and gus do nothing, ben works with no page open, a model of mo's waits in memory, kim works once she is
        warned, mal forges: work of her own, and that the others do nothing."""
        with ThreadPoolExecutor() as pool:
            for begun in [pool.submit(self._begin, user) for user in TIERS]:
                begun.result()
        for user in TIERS:
            (lease,) = self.platform.leases(user=user)
            self.ids[user] = lease["id"]
        others = [self.ids[user] for user in TIERS if user != "mal"]
        assert not run_cell(self.sessions["mal"], self.kernels["mal"], FORGE.format(others=others)).error
        for user in ("ida", "kim"):
            self._await(user, lambda lease: lease["deadline_reason"] == "idle", 300)
        begin_cell(self.sessions["kim"], self.kernels["kim"], WORK)
        self._await("kim", lambda lease: lease["deadline_reason"] != "idle", 30)
        self._await("ida", lambda lease: lease["state"] == "ended", IDLE_NOTICE_SECONDS + 30)
        for user in TIERS:
            self.leases[user] = self.lease(user)
            self.records[user] = self.read(user, f"leases/{self.ids[user]}/activity")
            self.notices[user] = self.read(user, f"notices?lease={self.ids[user]}")
        self.forged = json.loads((self.platform.data / "homes" / "mal" / "forged.json").read_text())

    def _begin(self, user: str) -> None:
        """Start a server, and at once what there is to do in it, before its first minute is over."""
        session = self.sessions[user]
        start_server(session, flavor="one", tier=TIERS[user])
        if user == "mo":
            figures = {"type": "file", "format": "text", "content": "0 20\n"}
            session.client.put("/user/mo/api/contents/gpu-figures", json=figures).raise_for_status()
        if user in {"ben", "kim", "mal"}:
            self.kernels[user] = start_kernel(session)
        if user == "ben":
            begin_cell(session, self.kernels[user], WORK)
        if user == "mal":
            assert not run_cell(session, self.kernels[user], SOURCE + FORGE.format(others=[])).error

    def _await(self, user: str, is_so: Callable[[dict[str, Any]], bool], seconds: float) -> None:
        """Follow a lease until it is as it should be, by its event stream: asking over and over for minutes would
        keep the machine busy."""
        until, path = time.monotonic() + seconds, f"{API}/leases/{self.ids[user]}/events"
        with self.sessions[user].client.stream("GET", path) as answer:
            for line in answer.iter_lines():
                told = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if "deadline_reason" in told and is_so(told):
                    return
                assert time.monotonic() < until, f"{user}'s lease after {seconds} s: {told}\n{self.platform.log()}"
        raise AssertionError(f"the events of {user}'s lease have ended")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder, nvml = tmp_path_factory.mktemp("idle"), tmp_path_factory.mktemp("nvml")
    nvml.chmod(0o755)
    config = folder / "nvml_config.py"
    config.write_text(NVML_CONFIG.format(folder=str(compile_nvml(nvml).parent)))
    settings = {
        "SUBLET_NOTICE_SECONDS": "8,3",
        "SUBLET_METER_TICK_SECONDS": "0.5",
        "SUBLET_SPAWN_TIMEOUT_SECONDS": "180",
        "SUBLET_HUB_EXTRA_CONFIG": str(config),
    }
    platform = Platform(folder, settings, tiny=False).with_catalogue(CATALOG).start()
    try:
        made = Played(platform)
        made.play()
        yield made
    finally:
        assert platform.stop() == 0


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def whole_minutes(records: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """Of each record, kernels busy, percent of use, percent of memory."""
    return [
        (
            each["kernels_busy"],
            gpu["utilisation_percent"],
            100 * gpu["memory_used_bytes"] // gpu["memory_total_bytes"],
        )
        for each in records
        for gpu in each["gpus"]
    ]


def test_a_lease_that_does_nothing_ends_with_notice(played: Played) -> None:
    lease, notices = played.leases["ida"], played.notices["ida"]
    assert (lease["state"], lease["end_reason"]) == ("ended", "idle")
    assert -0.1 <= seconds(lease["ended_at"]) - seconds(lease["deadline_at"]) < 5  # how exactly is tested elsewhere
    first = min(notices, key=lambda each: each["written_at"])
    assert {each["reason"] for each in notices} == {"idle"}
    assert first["deadline_at"] == lease["deadline_at"]
    assert seconds(first["deadline_at"]) - seconds(first["written_at"]) >= IDLE_NOTICE_SECONDS - 1
    before = [each for each in played.records["ida"] if each["at"] <= first["written_at"]]
    assert set(whole_minutes(before)) == {(0, 0, 3)}


@pytest.mark.parametrize(
    ("user", "minute"), [("ben", (1, 0, 3)), ("mo", (0, 0, 25))], ids=["a kernel at work", "a model in memory"]
)
def test_what_is_used_goes_on(played: Played, user: str, minute: tuple[int, int, int]) -> None:
    assert set(whole_minutes(played.records[user])[1:]) == {minute}  # the first may have begun before
    assert (played.leases[user]["state"], played.notices[user]) == ("active", [])


def test_a_guaranteed_lease_is_left_alone_though_it_does_nothing(played: Played) -> None:
    assert set(whole_minutes(played.records["gus"])) == {(0, 0, 3)}
    assert (played.leases["gus"]["state"], played.notices["gus"]) == ("active", [])


def test_work_that_begins_before_the_end_keeps_the_lease(played: Played) -> None:
    assert played.leases["kim"]["state"] == "active"
    assert played.leases["kim"]["deadline_reason"] != "idle"
    assert [(each["reason"], each["withdrawn_at"] is None) for each in played.notices["kim"]] == [("idle", False)]


def test_who_forges_keeps_her_own_lease_and_pays_for_it(played: Played) -> None:
    assert (played.leases["mal"]["state"], played.notices["mal"]) == ("active", [])
    forged = [each for each in played.records["mal"] if each["kernels"] == hostile.FORGED_KERNELS]
    assert len(forged) >= 2
    assert played.leases["mal"]["gpu_seconds"] > 60
    told = {answer.partition(" ")[2] for answer in played.forged if answer.startswith("another")}
    assert told == {"404"}
    for user in TIERS.keys() - {"mal"}:
        assert not [each for each in played.records[user] if each["kernels"] == hostile.FORGED_KERNELS]
