"""What servers tell: who may tell and read it, what is refused, and that forging it gains nothing."""

from __future__ import annotations

from typing import Any

import pytest

from sublet_hub.domain.lease import EndReason
from sublet_hub.storage import metering
from tests.api.conftest import API, Running, problem
from tests.fixtures.factories import HOUR

NOON = "2027-01-15T00:00:00.000Z"
GPU: dict[str, Any] = {
    "device": "GPU-1", "utilisation_percent": 40, "memory_used_bytes": 2**34, "memory_total_bytes": 2**36,
}  # fmt: skip
RECORD: dict[str, Any] = {"at": NOON, "seconds": 60, "gpus": [GPU], "kernels": 2, "kernels_busy": 1}


def path(lease_id: str) -> str:
    return f"{API}/leases/{lease_id}/activity"


async def tell(platform: Running, lease_id: str, *records: Any, token: str = "alice", **headers: str) -> Any:
    return await platform.ask("POST", path(lease_id), token, headers, json={"records": list(records)})


async def test_what_was_told_is_shown_and_the_first_word_on_a_minute_stays(platform: Running) -> None:
    lease = platform.lease("alice")
    platform.clock.turn(HOUR)
    late = {**RECORD, "at": "2027-01-15T02:00:30+01:00", "gpus": [{**GPU, "utilisation_percent": None}]}
    response = await tell(platform, lease.id, late, RECORD, {**RECORD, "at": "2027-01-15T00:00:59Z", "kernels": 0})
    assert (response.status_code, response.content) == (204, b"")
    assert (await tell(platform, lease.id, {**late, "kernels": 9})).status_code == 204
    shown = await platform.ask("GET", path(lease.id) + "?since=2027-01-14T00:00:00Z", "alice")
    assert shown.json() == [RECORD, {**late, "at": "2027-01-15T01:00:30.000Z"}]
    for token in ("boss", "reader"):
        assert (await platform.ask("GET", path(lease.id) + f"?since={NOON}", token)).json() == shown.json()[1:]


async def test_the_last_hour_is_shown_unless_it_is_said_since_when(platform: Running) -> None:
    lease = platform.lease("alice")
    await tell(platform, lease.id, RECORD)
    platform.clock.turn(HOUR - 1)
    assert len((await platform.ask("GET", path(lease.id), "alice")).json()) == 1
    platform.clock.turn(1)
    assert (await platform.ask("GET", path(lease.id), "alice")).json() == []


async def test_nobody_tells_of_anothers_lease(platform: Running) -> None:
    lease = platform.lease("alice")
    problem(await tell(platform, lease.id, RECORD, token="bob"), 404, "not-found")
    problem(await tell(platform, lease.id, RECORD, token="spawner"), 404, "not-found")
    for token in ("boss", "reader"):
        problem(await tell(platform, lease.id, RECORD, token=token), 403, "not-allowed")
    for token in ("bob", "spawner"):
        problem(await platform.ask("GET", path(lease.id), token), 404, "not-found")
    problem(await tell(platform, "0" * 32, RECORD), 404, "not-found")
    assert (await platform.ask("GET", path(lease.id), "reader")).json() == []


async def test_records_of_another_time_are_refused(platform: Running) -> None:
    lease = platform.lease("alice")
    platform.clock.turn(HOUR)
    for at in ("2027-01-14T23:57:59Z", "2027-01-15T01:02:01Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        document = problem(await tell(platform, lease.id, RECORD, {**RECORD, "at": at}), 422, "invalid-request")
        assert document["field"] == "records[1].at"
    metering.end(platform.books, lease.id, lease.started_at_ms or 0, platform.clock.now_ms(), EndReason.EXITED)
    platform.clock.turn(HOUR)
    assert (await tell(platform, lease.id, {**RECORD, "at": "2027-01-15T00:59:30Z"})).status_code == 204
    problem(await tell(platform, lease.id, {**RECORD, "at": "2027-01-15T01:30:00Z"}), 422, "invalid-request")
    assert len((await platform.ask("GET", path(lease.id) + "?since=2027-01-14T00:00:00Z", "alice")).json()) == 1


async def test_however_much_is_told_one_record_a_minute_is_kept(platform: Running) -> None:
    lease = platform.lease("alice")
    within = [{**RECORD, "at": f"2027-01-15T00:00:{second:02}Z"} for second in range(60)]
    for _ in range(3):
        assert (await tell(platform, lease.id, *within, *within)).status_code == 204
    assert len((await platform.ask("GET", path(lease.id), "alice")).json()) <= 1
    with platform.books.store.transaction(write=False) as tx:
        assert len(tx.activity(lease.id, after_ms=0, limit=10)) == 1


async def test_a_repeated_request_has_one_effect(platform: Running) -> None:
    lease = platform.lease("alice")
    for _ in range(2):
        response = await tell(platform, lease.id, RECORD, **{"Idempotency-Key": "k"})
        assert (response.status_code, response.content) == (204, b"")
    other = await tell(platform, lease.id, {**RECORD, "kernels": 3}, **{"Idempotency-Key": "k"})
    problem(other, 409, "conflict")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"at": 1800000000}, "records[0].at"),
        ({"at": "1800000000"}, "records[0].at"),
        ({"at": "2027-01-15T00:00:00"}, "records[0].at"),
        ({"seconds": 0}, "records[0].seconds"),
        ({"seconds": 121}, "records[0].seconds"),
        ({"seconds": 60.5}, "records[0].seconds"),
        ({"kernels": -1}, "records[0].kernels"),
        ({"kernels_busy": True}, "records[0].kernels_busy"),
        ({"cell": "import os"}, "records[0].cell"),
        ({"gpus": [{**GPU, "utilisation_percent": 101}]}, "records[0].gpus[0].utilisation_percent"),
        ({"gpus": [{**GPU, "memory_used_bytes": 2**53 + 1}]}, "records[0].gpus[0].memory_used_bytes"),
        ({"gpus": [{**GPU, "device": ""}]}, "records[0].gpus[0].device"),
        ({"gpus": [{**GPU, "process": "python"}]}, "records[0].gpus[0].process"),
        ({"gpus": [GPU] * 65}, "records[0].gpus"),
    ],
)
async def test_only_counts_are_taken_and_within_bounds(platform: Running, changes: Any, field: str) -> None:
    lease = platform.lease("alice")
    document = problem(await tell(platform, lease.id, {**RECORD, **changes}), 422, "invalid-request")
    assert document["field"] == field


async def test_there_is_a_record_and_not_too_many(platform: Running) -> None:
    lease = platform.lease("alice")
    for records in ([], [RECORD] * 121):
        assert problem(await tell(platform, lease.id, *records), 422, "invalid-request")["field"] == "records"


async def test_telling_changes_nothing_of_the_lease(platform: Running) -> None:
    lease = platform.lease("alice")
    platform.clock.turn(HOUR)
    before = (await platform.ask("GET", f"{API}/leases/{lease.id}", "alice")).json()
    quota = (await platform.ask("GET", f"{API}/quota", "alice")).json()
    await tell(platform, lease.id, {**RECORD, "seconds": 120, "kernels": 99999})
    assert (await platform.ask("GET", f"{API}/leases/{lease.id}", "alice")).json() == before
    assert (await platform.ask("GET", f"{API}/quota", "alice")).json() == quota
