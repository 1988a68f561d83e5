"""The extension's parts by themselves: in this process, since they need nothing of Jupyter Server."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sublet.asking import Surroundings
from sublet_server import loops
from sublet_server.event_stream import Event, EventStream, NoEventStreamError
from sublet_server.following import Following
from sublet_server.gpus import GpuProcess, GpuSample
from sublet_server.idle_policy import learn_idle_policy
from sublet_server.minutes import Counting
from sublet_server.outbox import Outbox, outbox_file, send_leftovers
from sublet_server.past import sentence
from sublet_server.platform_api import PlatformApi, PlatformAwayError
from sublet_server.state import LeaseState
from sublet_server.surroundings import visible_devices
from sublet_server.times import epoch, moment
from tests.extension.server.stand_in import LEASE_ID, StandIn, problem

LOG = logging.getLogger("test")
GIB = 2**30


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110 — of another thread's doing, too
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- the stream


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_are_read_whatever_the_chunks(size: int) -> None:
    text = b": alive\r\n\r\nretry: 3000\n\nevent: lease\ndata: {\ndata: }\n\ndata: \xc3\xa4\n\nevent: none\n\n"
    stream = EventStream()
    chunks = (text[at : at + size] for at in range(0, len(text), size))
    assert list(itertools.chain.from_iterable(map(stream.feed, chunks))) == [
        Event("lease", "{\n}"), Event("message", "ä"),
    ]  # fmt: skip
    assert stream.retry_seconds == 3


def test_an_event_without_end_is_cut() -> None:
    stream = EventStream()
    line = b"data: " + b"x" * 60_000 + b"\n"
    assert list(stream.feed(line * 4)) == []
    with pytest.raises(NoEventStreamError):
        list(stream.feed(line))


def test_pauses_grow_with_full_jitter_up_to_their_limit() -> None:
    highest = [loops.pause(failures, draw=lambda low, high: high) for failures in range(12)]
    assert highest[:4] == [1, 2, 4, 8]
    assert highest[-1] == loops.pause(10_000, draw=lambda low, high: high) == 60
    assert loops.pause(5, draw=lambda low, high: low) == 0


async def test_work_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "FIRST_PAUSE_SECONDS", 0.001)
    tries = itertools.count(1)

    async def work() -> None:
        if next(tries) < 3:
            raise RuntimeError("by chance")

    await loops.keep_going("work", work, LOG)
    assert next(tries) == 4


async def test_a_platform_that_falls_silent_is_left(platform: StandIn) -> None:
    api = api_of(platform)
    heard: list[Event] = []
    with pytest.raises(PlatformAwayError, match="silent"):
        await api.listen(api.lease_path("/events"), heard.append, 0.2)
    assert [each.name for each in heard] == ["lease"]
    # The other side notices that nobody listens any more.
    platform.tell("lease", {})
    platform.tell("lease", {})
    await until(lambda: not platform.streams)


async def test_a_refused_stream_is_asked_for_ever_more_rarely(platform: StandIn) -> None:
    path = f"/leases/{LEASE_ID}/events"
    platform.answers["GET", path] = (401, problem(401, "not-signed-in", "Nobody knows this token."))
    drawn: list[float] = []

    def draw(low: float, high: float) -> float:
        drawn.append(high)
        return 0

    state = LeaseState()
    following = asyncio.create_task(Following(api_of(platform), state, lambda notice: None, LOG, draw).run())
    await until(lambda: len(drawn) > 12)
    following.cancel()
    assert drawn[:3] == [2, 4, 8]
    assert drawn[12] == 300
    assert state.trouble == "Nobody knows this token. The token of this server is no longer good; start it again."


def api_of(platform: StandIn) -> PlatformApi:
    return PlatformApi(Surroundings(platform.url, "t", LEASE_ID))


async def test_no_redirect_takes_the_token_elsewhere(platform: StandIn) -> None:
    platform.answers["GET", "/quota"] = (302, {"detail": "Elsewhere."})
    with pytest.raises(PlatformAwayError, match="Elsewhere"):
        await api_of(platform).ask("GET", "/quota")


async def test_no_proxy_of_the_environment_sees_the_token(platform: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await api_of(platform).ask("GET", "/quota")).status == 200


# ---------------------------------------------------------------- records


@pytest.fixture
async def sending(platform: StandIn, tmp_path: Path) -> AsyncIterator[Callable[[], Outbox]]:
    """Begins to send in a new server, and ends the one that did before."""
    tasks: list[asyncio.Task[None]] = []

    def begin() -> Outbox:
        for before in tasks:
            before.cancel()
        outbox = Outbox(api_of(platform), tmp_path / "sublet" / "records.jsonl", 500, LOG)
        tasks.append(asyncio.create_task(outbox.run()))
        return outbox

    yield begin
    for task in tasks:
        task.cancel()


def record(number: int) -> dict[str, Any]:
    return {"at": moment(1_700_000_000 + 60 * number), "seconds": 60, "gpus": [], "kernels": 0, "kernels_busy": 0}


async def test_records_wait_on_disk_while_the_platform_is_away(
    platform: StandIn, sending: Callable[[], Outbox], tmp_path: Path
) -> None:
    file = tmp_path / "sublet" / "records.jsonl"
    platform.is_away = True
    outbox = sending()
    for number in range(600):
        outbox.put(record(number))
    await until(file.exists)
    assert len(file.read_text().splitlines()) == 500
    with file.open("a") as cut:
        cut.write('{"at": "20')  # the server was killed while it wrote
    # Another server of the lease takes up what the first has left.
    again = sending()
    platform.is_away = False
    await until(lambda: not again)
    assert [each["at"] for each in platform.records[:500]] == [record(number)["at"] for number in range(100, 600)]
    assert max(platform.batches) == 120
    await until(lambda: not file.exists())


async def test_what_an_earlier_lease_left_is_sent(platform: StandIn, tmp_path: Path) -> None:
    earlier = PlatformApi(Surroundings(platform.url, "t", "e" * 32))
    platform.is_away = True
    outbox = Outbox(earlier, outbox_file(tmp_path, earlier.lease_id), 500, LOG)
    task = asyncio.create_task(outbox.run())
    outbox.put(record(0))
    await until(lambda: list(tmp_path.glob("*.jsonl")))
    task.cancel()
    platform.is_away = False
    path = f"/leases/{earlier.lease_id}/activity"
    platform.answers["POST", path] = (200, {})
    await send_leftovers(api_of(platform), tmp_path, 500, LOG)
    assert platform.asked[-1] == ("POST", path, {"records": [record(0)]})
    assert not outbox_file(tmp_path, earlier.lease_id).exists()


async def test_a_batch_that_is_refused_holds_up_no_other(platform: StandIn, sending: Callable[[], Outbox]) -> None:
    path = f"/leases/{LEASE_ID}/activity"
    platform.answers["POST", path] = (422, problem(422, "invalid-request", "No such moment."))
    outbox = sending()
    outbox.put(record(0))
    await until(lambda: not outbox)
    del platform.answers["POST", path]
    outbox.put(record(1))
    await until(lambda: platform.records)
    assert platform.records == [record(1)]


async def test_a_disk_that_is_full_keeps_records_in_memory(platform: StandIn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    platform.is_away = True
    outbox = Outbox(api_of(platform), tmp_path / "file" / "records.jsonl", 500, LOG)
    outbox.put(record(0))
    task = asyncio.create_task(outbox.run())
    await until(lambda: any(path.endswith("/activity") for _, path, _ in platform.asked))
    platform.is_away = False
    await until(lambda: platform.records == [record(0)])
    task.cancel()


class FakeKernels:
    """Two kernels, of which some are busy."""

    def __init__(self) -> None:
        self.busy_now: set[str] = set()

    def ids(self) -> list[str]:
        return ["k1", "k2"]

    def busy(self, since: datetime | None = None) -> set[str]:
        return set(self.busy_now)

    def of_processes(self, pids: set[int]) -> dict[int, str]:
        return dict.fromkeys(pids & {7}, "k1")


def sample(utilisation: int | None, used: int) -> tuple[GpuSample, ...]:
    return (GpuSample("GPU-1", utilisation, used, 80 * GIB, (GpuProcess(7, used), GpuProcess(8, None))),)


def counting_at(
    begins: float,
) -> tuple[Counting, LeaseState, FakeKernels, list[dict[str, Any]], Callable[[float], None]]:
    now = [begins]
    state, kernels, records = LeaseState(lambda: now[0]), FakeKernels(), list[dict[str, Any]]()
    counting: Any = Counting(state, kernels, 5, records.append)  # type: ignore[arg-type]  # a fake

    def at(seconds: float) -> None:
        now[0] = begins + seconds
        counting._look(now[0])

    return counting, state, kernels, records, at


MINUTE = 1_700_000_040.0
"""The beginning of a minute."""


def test_a_minute_is_told_with_means_and_peaks() -> None:
    counting, state, kernels, records, at = counting_at(MINUTE)
    at(0)
    for seconds, utilisation in ((5, 0), (10, 100), (15, None)):
        counting.heed(sample(utilisation, seconds * GIB))
        kernels.busy_now = {"k2"} if seconds == 10 else set()
        at(seconds)
    for seconds in range(20, 61, 5):
        at(seconds)
    gpu = {"device": "GPU-1", "utilisation_percent": 50, "memory_used_bytes": 15 * GIB,
           "memory_total_bytes": 80 * GIB}  # fmt: skip
    assert records == [
        {"at": moment(MINUTE + 60), "seconds": 60, "gpus": [gpu], "kernels": 2, "kernels_busy": 1}
    ]  # fmt: skip
    assert list(state.history) == records
    assert state.gpu is not None
    assert state.gpu["gpus"][0]["processes"] == [
        {"kernel": "k1", "memory_used_bytes": 15 * GIB}, {"kernel": None, "memory_used_bytes": None},
    ]  # fmt: skip


def test_a_minute_that_was_not_seen_whole_is_not_told() -> None:
    _, _, _, records, at = counting_at(MINUTE)
    for seconds in (30, 40, 50, 60):  # begun in the middle
        at(seconds)
    assert records == []
    for seconds in (70, 80, 115, 120):  # it slept for half a minute
        at(seconds)
    assert records == []
    for seconds in range(130, 181, 10):
        at(seconds)
    assert [each["at"] for each in records] == [moment(MINUTE + 180)]
    at(600)
    assert len(records) == 1


def test_idle_minutes_are_those_without_a_doubt() -> None:
    state = LeaseState(lambda: MINUTE)
    state.lease = {"simulated": False, "gpus_milli": 1000}

    def minute(number: int, utilisation: int | None = 0, used: int = 0, busy: int = 0) -> dict[str, Any]:
        gpu = {
            "device": "G",
            "utilisation_percent": utilisation,
            "memory_used_bytes": used,
            "memory_total_bytes": 100,
        }
        return {"at": moment(MINUTE - 60 * number), "gpus": [gpu], "kernels": 1, "kernels_busy": busy}

    state.history.extend([minute(3), minute(2), minute(1), minute(0)])
    assert state.idle_minutes == 4
    for doubtful in (minute(1, busy=1), minute(1, 5), minute(1, None), minute(1, used=10)):
        state.history[2] = doubtful
        assert state.idle_minutes == 1
    del state.history[2]  # a minute is left out
    assert state.idle_minutes == 1
    state.idle_policy = {"utilisation_percent": 0}
    assert state.idle_minutes == 0


async def test_the_idle_policy_is_the_pools_and_the_tiers(platform: StandIn) -> None:
    policy = {"after_minutes": 30, "utilisation_percent": 5, "memory_percent": 10, "tiers": ["surplus"]}
    pools: Any = [{"name": "other", "idle": None}, {"name": "h100", "idle": policy}]
    platform.answers["GET", "/pools"] = (200, pools)
    for tier, told in (("surplus", {"after_minutes": 30}), ("guaranteed", None)):
        state = LeaseState()
        state.lease = {**platform.lease, "tier": tier}
        asked = len(platform.asked)
        task = asyncio.create_task(learn_idle_policy(api_of(platform), state))
        await until(lambda before=asked: len(platform.asked) > before)  # type: ignore[misc]
        await until(lambda now=state, wanted=told: now.document()["idle_stop"] == wanted)  # type: ignore[misc]
        task.cancel()


# ---------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"CUDA_VISIBLE_DEVICES": "GPU-1,MIG-2"}, ("GPU-1", "MIG-2")),
        ({"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "all"}, ()),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, ()),
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-3"}, ("GPU-3",)),
        ({"CUDA_VISIBLE_DEVICES": "SIM-0,SIM-1"}, ()),
        ({}, ()),
    ],
)
def test_only_the_leases_devices_are_looked_at(env: dict[str, str], names: tuple[str, ...]) -> None:
    assert visible_devices(env) == names


def test_moments_are_rfc_3339() -> None:
    assert moment(1_700_000_040.5) == "2023-11-14T22:14:00.500Z"
    assert epoch("2023-11-14T22:14:00.500Z") == epoch("2023-11-14T23:14:00.500+01:00") == 1_700_000_040.5
    for wrong in ("2023-11-14T22:14:00", "soon", None, 5):
        with pytest.raises(ValueError, match=r"."):
            epoch(wrong)


def test_what_is_told_of_the_last_lease() -> None:
    lease = {"flavor": "h100", "end_reason": "out_of_memory", "ended_at": "2026-11-23T09:05:00Z"}
    assert sentence(lease, {}) == (
        "Your last server (h100) ended at 23 Nov 09:05 UTC because it used more memory than its flavor has;"
        " pick a larger one, or load less at a time."
    )
    assert sentence({**lease, "end_reason": "user"}, {}) is None
    told = sentence({**lease, "end_reason": "user"}, {"callbacks": 2, "documents": 1})
    assert told is not None
    assert "2 functions" in told
    assert "1 open document could" in told
    assert "because the platform was shut down." in (sentence({**lease, "end_reason": "shutdown"}, {}) or "")


def test_a_server_that_ended_by_itself_is_explained_unless_its_user_did_it() -> None:
    lease = {"flavor": "h100", "end_reason": "exited", "ended_at": "2026-11-23T09:05:00Z"}
    assert sentence(lease, {}, "user") is None
    assert "told to end, by a signal" in (sentence(lease, {}, "signal") or "")
    assert "broke down, or was killed" in (sentence(lease, {}, None) or "")
    assert sentence({**lease, "end_reason": "user"}, {}, "signal") is None


def test_a_token_is_in_no_representation() -> None:
    around = Surroundings("http://a", "secret", "l")
    assert "secret" not in repr(around) + json.dumps(str(around))
