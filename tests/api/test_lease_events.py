"""The event stream of a lease: what comes, to whom, how many, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager

import pytest

from sublet_hub.api import following, streams
from sublet_hub.api.following import Look
from sublet_hub.api.session import SESSION_COOKIE
from sublet_hub.api.stream import StreamTimes
from sublet_hub.api.streams import MOST_OF_LEASE
from sublet_hub.domain.errors import Unavailable
from sublet_hub.domain.lease import EndReason, Lease
from sublet_hub.storage import leasing, metering
from sublet_hub.storage.books import Books
from sublet_hub.storage.memory import MemoryStore
from sublet_hub.storage.store import Store, Transaction
from tests.api.conftest import API, Running, problem, running
from tests.api.event_client import WAIT_SECONDS, Event, EventClient, events_path, follow
from tests.fixtures.books import limit

QUICK = StreamTimes(look=0.01, leaving=0.2, blind=0.1)
MOST = 12


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Running]:
    """A platform on any store, that looks often."""
    async with running(store, stream_times=QUICK, event_streams_max=MOST) as made:
        yield made


@pytest.fixture
async def here() -> AsyncIterator[Running]:
    """The same, on the memory store: for what doesn't depend on the store."""
    async with running(MemoryStore(), stream_times=QUICK, event_streams_max=MOST) as made:
        yield made


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - nothing tells of what is waited for
            await asyncio.sleep(0.005)


async def metric(site: Running, line: str) -> float:
    text = (await site.ask("GET", "/services/sublet/metrics")).text
    found = [each for each in text.splitlines() if each.startswith(f"{line} ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


async def open_streams(site: Running) -> float:
    return await metric(site, "sublet_api_event_streams")


def end(site: Running, lease: Lease, reason: EndReason = EndReason.USER) -> None:
    assert lease.started_at_ms is not None
    metering.end(site.books, lease.id, lease.started_at_ms, site.clock.now_ms(), reason)


# ------------------------------------------------------------ what comes


async def test_a_connection_begins_with_the_whole_state(site: Running) -> None:
    lease = site.lease()
    limit(site.books, gpu_seconds=(400, "day"), gpus=4)
    limit(site.books, gpu_seconds=(36000, "day"), gpus=4)  # withdraws the notice
    limit(site.books, gpu_seconds=(200, "day"), gpus=4)
    site.clock.turn(5_000)
    notices = (await site.ask("GET", f"{API}/notices?current=true", "alice")).json()
    async with follow(site.app, lease.id) as client:
        first, second = await client.next(), await client.next()
        assert (client.status, client.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (client.headers["cache-control"], client.headers["x-accel-buffering"]) == ("no-store", "no")
        assert (first.name, second.name) == ("lease", "notice")
        read = (await site.ask("GET", f"{API}/leases/{lease.id}", "alice")).json()
        assert first.data == {name: read[name] for name in read if name != "devices"}
        assert first.data["gpu_seconds"] == 5
        assert [second.data] == notices
        site.clock.turn(1_000)
        async with follow(site.app, lease.id) as other:
            assert (await other.next()).data["gpu_seconds"] == 6, "a later one begins with the state as it is then"
            assert (await other.next()).data == second.data


async def test_each_change_is_told_to_all_who_follow(site: Running) -> None:
    lease, others = site.lease(), site.lease("bob")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(follow(site.app, lease.id)) for _ in range(2)]
        bob = await stack.enter_async_context(follow(site.app, others.id, "bob"))
        for client in (*clients, bob):
            assert (await client.next()).data["deadline_reason"] == "quota"
        site.clock.turn(1_000)
        leasing.order_end(site.books, lease.id, at_ms=None, reason=EndReason.ADMIN, actor="user:boss", why="a test")
        for client in clients:
            moved, notice = await client.next(), await client.next()
            assert (moved.name, moved.data["deadline_reason"]) == ("lease", "admin")
            assert (notice.name, notice.data["reason"]) == ("notice", "admin")
            assert notice.data["deadline_at"] == moved.data["deadline_at"]
        metering.post(site.books, others.id, site.clock.now_ms())
        posted = await bob.next()
        assert (posted.data["id"], posted.data["gpu_seconds"]) == (others.id, 1), "nothing of alice's came before it"


async def test_a_warning_by_the_meter_is_told_without_a_change_of_the_lease(site: Running) -> None:
    limit(site.books, gpu_seconds=(600, "day"))
    lease = site.lease()
    async with follow(site.app, lease.id) as client:
        assert (await client.next()).name == "lease"
        site.clock.turn(310_000)
        assert metering.warn(site.books, lease.id)
        notice = await client.next()
        assert (notice.name, notice.data["lead_seconds"], notice.data["lease_id"]) == ("notice", 300, lease.id)


async def test_a_deadline_that_moves_out_withdraws_the_notice(site: Running) -> None:
    lease = site.lease()
    async with follow(site.app, lease.id) as client:
        before = await client.next()
        limit(site.books, gpu_seconds=(400, "day"))
        nearer, notice = await client.next(), await client.next()
        assert nearer.data["deadline_at"] < before.data["deadline_at"]
        limit(site.books, gpu_seconds=(36000, "day"))
        further, withdrawn = await client.next(), await client.next()
        assert further.data["deadline_at"] == before.data["deadline_at"]
        assert (withdrawn.name, withdrawn.data) == ("withdrawn", {"id": notice.data["id"]})


async def test_a_quota_that_is_changed_through_this_api_is_told_without_waiting_for_the_next_look() -> None:
    times = StreamTimes(look=100 * WAIT_SECONDS, soonest=0.01)
    async with running(MemoryStore(), stream_times=times) as site:
        lease = site.lease()
        async with follow(site.app, lease.id) as client:
            await client.next()
            low, high = (
                {"limits": [{"what": "gpu_seconds", "limit": most, "window": "day"}]} for most in (400, 36000)
            )
            for limits, name in ((low, "notice"), (high, "withdrawn")):
                await site.ask("PUT", "/hub/api/quotas/default", "boss", json=limits)
                assert [(await client.next()).name, (await client.next()).name] == ["lease", name]


async def test_the_end_of_the_lease_is_told_and_ends_the_stream(site: Running) -> None:
    lease = site.lease()
    limit(site.books, gpu_seconds=(400, "day"))
    async with follow(site.app, lease.id) as client:
        assert [(await client.next()).name, (await client.next()).name] == ["lease", "notice"]
        site.clock.turn(60_000)
        end(site, lease, EndReason.QUOTA)
        last = await client.rest()
        assert [event.name for event in last] == ["lease"]
        assert (last[0].data["state"], last[0].data["end_reason"]) == ("ended", "quota")
        assert last[0].data["gpu_seconds"] == 60
    assert await open_streams(site) == 0


async def test_of_a_lease_that_is_over_only_that_is_told(site: Running) -> None:
    lease = site.lease(start=False)
    metering.void(site.books, lease.id)
    async with follow(site.app, lease.id) as client:
        assert [(event.name, event.data["state"]) for event in await client.rest()] == [("lease", "void")]


# ------------------------------------------------------------ to whom


async def test_those_who_may_read_the_lease_may_follow_it(here: Running) -> None:
    lease = here.lease()
    for token in ("alice", "boss", "reader", "spawner"):
        async with follow(here.app, lease.id, token) as client:
            told = (await client.next()).data
            assert (told["id"], "devices" in told) == (lease.id, False)


async def test_to_all_others_there_is_no_such_lease(here: Running) -> None:
    lease = here.lease()
    not_theirs = problem(await here.ask("GET", events_path(lease.id), "bob"), 404, "not-found")
    unknown = problem(await here.ask("GET", events_path("0" * 32), "bob"), 404, "not-found")
    assert not_theirs["detail"].replace(lease.id, "") == unknown["detail"].replace("0" * 32, "")
    problem(await here.ask("GET", events_path(lease.id)), 401, "not-signed-in")
    problem(await here.ask("GET", events_path("nonsense"), "alice"), 422, "invalid-request")
    problem(await here.ask("GET", f"{events_path(lease.id)}?since=1", "alice"), 422, "invalid-request")
    assert await open_streams(here) == 0


async def test_a_page_follows_with_its_session_and_shows_that_it_is_a_page(here: Running) -> None:
    lease = here.lease()
    cookie = {"Cookie": f"{SESSION_COOKIE}={here.api.sessions.keep('alice').value}", "Sec-Fetch-Mode": "cors"}
    problem(await here.ask("GET", events_path(lease.id), headers=cookie), 403, "not-allowed")
    shown = {**cookie, "X-CSRF-Token": here.api.sessions.csrf_token("alice")}
    async with follow(here.app, lease.id, headers=shown) as client:
        assert (await client.next()).data["id"] == lease.id


# ------------------------------------------------------------ how many, how slow, how long


async def test_one_more_than_a_lease_may_have_ends_the_oldest(here: Running) -> None:
    lease = here.lease()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(follow(here.app, lease.id)) for _ in range(MOST_OF_LEASE)]
        for client in clients:
            await client.next()
        newest = await stack.enter_async_context(follow(here.app, lease.id))
        await newest.next()
        assert await clients[0].rest() == []
        assert await open_streams(here) == MOST_OF_LEASE
        limit(here.books, gpu_seconds=(400, "day"))
        for client in (*clients[1:], newest):
            assert [(await client.next()).name, (await client.next()).name] == ["lease", "notice"]


async def test_more_than_the_process_may_have_are_refused_and_told_when_to_come_again(here: Running) -> None:
    leases = [here.lease(flavor="mig-1x") for _ in range(3)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(follow(here.app, leases[n % 3].id)) for n in range(MOST)]
        for client in clients:
            await client.next()
        refused = await here.ask("GET", events_path(leases[0].id), "alice")
        problem(refused, 503, "too-many-streams")
        assert int(refused.headers["retry-after"]) > 0
        await clients[0].leave()
        async with follow(here.app, leases[0].id) as another:
            assert (await another.next()).name == "lease"


async def test_a_slow_client_gets_the_newest_state_and_nothing_is_queued_for_it(here: Running) -> None:
    lease = here.lease()
    async with follow(here.app, lease.id) as slow, follow(here.app, lease.id) as quick:
        await slow.next()
        await quick.next()
        slow.reads.clear()
        newest: Event | None = None
        for seconds in (400, 36000, 500, 36000, 600, 36000, 700):
            limit(here.books, gpu_seconds=(seconds, "day"))
            newest = await quick.next()
            assert (await quick.next()).name in {"notice", "withdrawn"}
        slow.reads.set()
        late = [await slow.next()]
        while newest not in late:
            late.append(await slow.next())
        assert (await slow.next()).name == "notice"
        told = [event for event in late if event.name == "lease"]
        assert len(told) <= 2, "the one that was on its way when it stopped reading, and the newest"


async def test_a_client_that_reads_nothing_is_hung_up_on() -> None:
    times = StreamTimes(look=0.01, stuck=0.05)
    async with running(MemoryStore(), stream_times=times) as site:
        lease = site.lease()
        client = EventClient(site.app, events_path(lease.id), {"Authorization": "token alice"})
        await client.next()
        client.reads.clear()
        limit(site.books, gpu_seconds=(400, "day"))
        await asyncio.wait_for(client.answering, WAIT_SECONDS)
        assert await open_streams(site) == 0


async def test_when_a_client_goes_its_stream_is_forgotten_and_nobody_looks_any_more(here: Running) -> None:
    lease = here.lease()
    async with follow(here.app, lease.id) as client:
        await client.next()
        assert await open_streams(here) == 1
    assert await open_streams(here) == 0
    await until(lambda: here.api.streams._watching is None)
    looks = await metric(here, 'sublet_api_database_seconds_count{operation="follow_leases"}')
    assert looks >= 1
    async with follow(here.app, lease.id) as client:
        await client.next()
    again = await metric(here, 'sublet_api_database_seconds_count{operation="follow_leases"}')
    assert again > looks, "the next stream is looked for again"


async def test_however_many_streams_there_are_each_look_is_one_transaction(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = [here.lease(flavor="mig-1x") for _ in range(4)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(follow(here.app, leases[n % 4].id)) for n in range(MOST)]
        for client in clients:
            await client.next()
        began: list[bool] = []
        transaction, look = MemoryStore.transaction, following.follow_leases
        looks: list[int] = []

        @contextmanager
        def counted(store: MemoryStore, *, write: bool) -> Iterator[Transaction]:
            began.append(write)
            with transaction(store, write=write) as tx:
                yield tx

        def counted_look(books: Books, seen: Mapping[str, str]) -> Look:
            looks.append(len(seen))
            return look(books, seen)

        monkeypatch.setattr(MemoryStore, "transaction", counted)
        monkeypatch.setattr(streams, "follow_leases", counted_look)
        await until(lambda: len(looks) >= 10)
        monkeypatch.undo()
        assert set(looks) == {len(leases)}
        assert len(looks) <= len(began) <= len(looks) + 1, "the first look may have begun before it was counted"
        assert not any(began), "it only reads"


async def test_a_silent_stream_says_that_it_is_alive() -> None:
    async with running(MemoryStore(), stream_times=StreamTimes(look=0.01, alive=0.02)) as site:
        lease = site.lease()
        async with follow(site.app, lease.id) as client:
            assert await client.comment() == ": alive"
            assert await client.comment() == ": alive"


async def test_a_stream_ends_after_its_lifetime_and_the_next_begins_anew() -> None:
    async with running(MemoryStore(), stream_times=StreamTimes(look=0.01, lifetime=1.5)) as site:
        lease = site.lease()
        async with follow(site.app, lease.id) as client:
            assert [event.name for event in await client.rest()] == ["lease"]
        async with follow(site.app, lease.id) as client:
            assert (await client.next()).name == "lease"


async def test_a_token_that_is_no_good_any_more_gets_no_second_stream(here: Running) -> None:
    lease = here.lease()
    async with follow(here.app, lease.id) as client:
        await client.next()
        del here.hub.tokens["alice"]
        here.seconds[0] += 60
        problem(await here.ask("GET", events_path(lease.id), "alice"), 401, "not-signed-in")


# ------------------------------------------------------------ trouble


@contextmanager
def database_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def away(_store: object, *, write: bool) -> object:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(MemoryStore, "transaction", away)
    yield
    monkeypatch.undo()


async def test_a_short_trouble_with_the_database_is_got_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(MemoryStore(), stream_times=StreamTimes(look=0.01)) as site:
        lease = site.lease()
        async with follow(site.app, lease.id) as client:
            await client.next()
            with caplog.at_level(logging.ERROR), database_away(monkeypatch):
                await until(lambda: site.api.metrics._failures.labels("Unavailable")._value.get() > 3)
            limit(site.books, gpu_seconds=(400, "day"))
            assert [(await client.next()).name, (await client.next()).name] == ["lease", "notice"]
    assert caplog.text.count("the database could not be looked at") == 1, "trouble that lasts is told once"


async def test_streams_end_where_nobody_can_look_for_long(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = here.lease()
    async with follow(here.app, lease.id) as client:
        await client.next()
        with database_away(monkeypatch):
            assert await client.rest() == [], "it would only say that it is alive"
            problem(await here.ask("GET", events_path(lease.id), "alice"), 503, "unavailable")


async def test_streams_are_no_requests_in_flight(here: Running) -> None:
    lease = here.lease()
    async with follow(here.app, lease.id) as client:
        await client.next()
        assert await metric(here, "sublet_api_requests_in_flight") == 1, "that for the metrics"
        answered = f'sublet_api_requests_total{{method="GET",route="{API}/leases/{{id}}/events",status="200"}}'
        assert await metric(here, answered) == 1
        assert await metric(here, 'sublet_api_events_total{event="lease"}') == 1
    assert await metric(here, answered) == 1
    assert await metric(here, "sublet_api_requests_in_flight") == 1


async def test_when_the_api_is_about_to_end_so_are_its_streams(here: Running) -> None:
    lease = here.lease()
    async with follow(here.app, lease.id) as client, follow(here.app, lease.id) as stuck:
        await client.next()
        await stuck.next()
        stuck.reads.clear()
        limit(here.books, gpu_seconds=(400, "day"))
        assert [(await client.next()).name, (await client.next()).name] == ["lease", "notice"]
        here.api.streams.close()
        assert await client.rest() == []
        await asyncio.wait_for(stuck.answering, WAIT_SECONDS)
        problem(await here.ask("GET", events_path(lease.id), "alice"), 503, "unavailable")
