"""Starting, sharing, draining and ending models' servers, on a place and clocks of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.models import Licence, Model, Serving, Upstream
from sublet_hub.gateway.errors import ModelAway, NoRoomForModel, headers_of, members_of
from sublet_hub.gateway.model_servers import LEAST_SERVING_MS, STOP_BEFORE_MS, ModelServers
from sublet_hub.gateway.upstreams import Server, Servers

OPEN = Licence("open", "Open License", "1", "https://example.org/open")
LEASED = Upstream(None, "tiny", None, "transformers", "gpu-1x")
BESIDE = Upstream(None, "tiny", None, "transformers", "gpu-2x", Tier.GUARANTEED)
UNMETERED = Upstream(None, "tiny", None, "transformers")
THERE = Upstream("http://127.0.0.1:9/v1", "tiny")
IDLE_SECONDS, NOTICE_SECONDS = 900, 300
HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000


def model(*upstreams: Upstream) -> Model:
    return Model("tiny", "Tiny", "Toy", "Chat", "", OPEN, "transformers", serving=Serving(upstreams, 512, 128))


TINY = model(LEASED)


@dataclass(eq=False)
class FakeRunning:
    """A server that answers when it is told to."""

    address: Path | str
    upstream: Upstream
    ends_at_ms: int | None
    is_alive: bool = True
    is_ready: bool = True
    looks: int = 0
    given_back: tuple[str, bool] | None = None

    async def answers(self) -> bool:
        return self.is_ready

    async def look(self) -> None:
        self.looks += 1

    async def end(self, why: str, *, shutdown: bool = False) -> None:
        assert self.given_back is None, "once"
        self.given_back = (why, shutdown)
        self.is_alive = False

    def printed(self) -> str:
        return ""


@dataclass
class FakePlace:
    """Somewhere that has as much room as it is said to have."""

    now_ms: Callable[[], int]
    lasts_ms: int | None = 10 * HOUR_MS
    refusal: Callable[[], Exception] | None = None
    full: set[str] = field(default_factory=set)
    """Flavors without room."""
    is_ready: bool = True
    made: list[FakeRunning] = field(default_factory=list)
    asked: int = 0
    has_started: asyncio.Event = field(default_factory=asyncio.Event)
    least_ms: int = 0
    start_seconds: float = 120
    at: str | None = None
    """Where its servers are by HTTP; None: on sockets."""

    async def start(self, model: Model, upstream: Upstream, least_ms: int) -> FakeRunning:
        self.asked += 1
        self.least_ms = least_ms
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal()
        if upstream.flavor in self.full:
            raise NoRoomForModel("All are leased.")
        ends_at_ms = None if self.lasts_ms is None or upstream.flavor is None else self.now_ms() + self.lasts_ms
        address = Path(f"/there/{len(self.made)}") if self.at is None else self.at
        self.made.append(FakeRunning(address, upstream, ends_at_ms, is_ready=self.is_ready))
        self.has_started.set()
        return self.made[-1]

    async def tidy(self) -> None:
        """Nothing was left."""


class World:
    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.place = FakePlace(self.wall_ms)
        self.servers = ModelServers(self.place, IDLE_SECONDS, NOTICE_SECONDS, lambda: self.seconds, self.wall_ms)

    def wall_ms(self) -> int:
        return NOW_MS + round(self.seconds * 1000)

    def given_back(self, number: int) -> tuple[str, bool] | None:
        """Why one of those that were started was given back, and whether we ended; None while it wasn't."""
        return self.place.made[number].given_back

    def to_end_in(self, running: FakeRunning, seconds: float) -> None:
        """As the meter does, for a reclaim, an admin or a quota."""
        running.ends_at_ms = self.wall_ms() + round(seconds * 1000)

    async def after(self, seconds: float) -> None:
        self.seconds += seconds
        await self.servers.round()
        await asyncio.sleep(0)


@pytest.fixture
def world() -> World:
    return World()


async def test_calls_at_once_share_one_start_and_one_server(world: World) -> None:
    found = await asyncio.gather(*(world.servers.server_of(TINY, LEASED) for _ in range(5)))
    assert world.place.asked == 1
    assert len(set(found)) == 1
    assert found[0].calls == 5


async def test_one_without_calls_is_given_back_after_a_while_and_not_before(world: World) -> None:
    there = await world.servers.server_of(TINY, LEASED)
    await world.after(IDLE_SECONDS * 2)
    assert world.given_back(0) is None, "a call runs"
    there.call_ended()
    await world.after(IDLE_SECONDS - 1)
    assert world.given_back(0) is None
    await world.after(2)
    assert world.given_back(0) == ("No call for 901 s.", False)
    await world.servers.server_of(TINY, LEASED)
    assert world.place.asked == 2


async def test_one_that_is_warned_takes_no_new_calls_and_finishes_those_that_run(world: World) -> None:
    first = await world.servers.server_of(TINY, LEASED)
    world.to_end_in(world.place.made[0], NOTICE_SECONDS)
    await world.after(1)
    second = await world.servers.server_of(TINY, LEASED)
    assert second.address != first.address
    await world.after(NOTICE_SECONDS - 10)
    assert world.given_back(0) is None, "its call may go on"
    first.call_ended()
    await world.after(0)
    assert world.given_back(0) is not None
    assert world.given_back(1) is None


async def test_calls_that_run_are_broken_off_shortly_before_the_deadline(world: World) -> None:
    await world.servers.server_of(TINY, LEASED)
    world.to_end_in(world.place.made[0], NOTICE_SECONDS)
    await world.after(NOTICE_SECONDS - STOP_BEFORE_MS / 1000 - 1)
    assert world.given_back(0) is None
    await world.after(1)
    assert world.given_back(0) == ("It was about to end.", False)


async def test_a_deadline_that_moves_out_again_takes_nothing_away(world: World) -> None:
    first = await world.servers.server_of(TINY, LEASED)
    world.to_end_in(world.place.made[0], NOTICE_SECONDS)
    assert first.is_leaving
    world.to_end_in(world.place.made[0], NOTICE_SECONDS + 60)
    await world.after(1)
    assert await world.servers.server_of(TINY, LEASED) is first
    assert world.place.asked == 1


async def test_where_nobody_is_warned_calls_still_cease_before_the_end() -> None:
    world = World()
    world.servers = ModelServers(world.place, IDLE_SECONDS, 0, lambda: world.seconds, world.wall_ms)
    there = await world.servers.server_of(TINY, LEASED)
    world.to_end_in(world.place.made[0], 9)
    assert not there.takes_calls


async def test_no_lease_is_taken_that_would_be_over_at_once(world: World) -> None:
    await world.servers.server_of(TINY, LEASED)
    assert world.place.least_ms == NOTICE_SECONDS * 1000 + LEAST_SERVING_MS


async def test_a_refusal_is_told_to_all_and_asked_for_again_ever_later(world: World) -> None:
    """Each that is asked for leaves an audit record."""
    world.place.refusal = lambda: NoRoomForModel("All are leased.")
    calls = [world.servers.server_of(TINY, LEASED) for _ in range(50)]
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, NoRoomForModel) for each in told)
    asked_at = []
    for _ in range(400):
        before = world.place.asked
        with pytest.raises(NoRoomForModel) as refused:
            await world.servers.server_of(TINY, LEASED)
        assert refused.value.retry_at_ms is not None
        assert refused.value.retry_at_ms > world.wall_ms()
        if world.place.asked > before:
            asked_at.append(world.seconds - 1_000)
        world.seconds += 1
    assert asked_at == [5, 15, 35, 75, 135, 195, 255, 315, 375]
    world.place.refusal = None
    world.seconds += 60
    await world.servers.server_of(TINY, LEASED)


async def test_a_refusal_has_both_forms_and_a_moment(world: World) -> None:
    world.place.refusal = lambda: NoRoomForModel("All are leased.", retry_at_ms=NOW_MS + HOUR_MS)
    with pytest.raises(NoRoomForModel) as refused:
        await world.servers.server_of(TINY, LEASED)
    said = members_of(refused.value, "https://sublet.example/problems/", "/v1/chat/completions")
    assert said["status"] == 503
    assert said["type"] == "https://sublet.example/problems/model-no-capacity"
    assert said["retry_at"] == "2027-01-15T09:00:00Z", "the quota's own"
    assert said["error"] == {
        "message": "All are leased.", "type": "server_error", "param": None, "code": "model-no-capacity",
    }  # fmt: skip
    assert (b"retry-after", b"3600") in headers_of(refused.value, NOW_MS / 1000)


async def test_one_that_dies_is_replaced_at_the_next_call(world: World) -> None:
    first = await world.servers.server_of(TINY, LEASED)
    world.place.made[0].is_alive = False
    second = await world.servers.server_of(TINY, LEASED)
    assert second is not first
    await world.after(1)
    assert world.given_back(0) is not None, "it is cleared away"


async def test_a_start_goes_on_when_the_call_that_began_it_goes_away(world: World) -> None:
    world.place.is_ready = False
    gone = asyncio.ensure_future(world.servers.server_of(TINY, LEASED))
    stays = asyncio.ensure_future(world.servers.server_of(TINY, LEASED))
    await asyncio.wait_for(world.place.has_started.wait(), 10)
    gone.cancel()
    await asyncio.sleep(0)
    world.place.made[0].is_ready = True
    there = await asyncio.wait_for(stays, 10)
    assert there.calls == 1
    assert world.place.asked == 1


async def test_one_that_never_answers_is_given_back(world: World) -> None:
    world.place.start_seconds = -1
    world.place.is_ready = False
    with pytest.raises(ModelAway, match="could not be started"):
        await world.servers.server_of(TINY, LEASED)
    await asyncio.sleep(0)
    assert world.given_back(0) is not None
    with pytest.raises(ModelAway):
        await world.servers.server_of(TINY, LEASED)
    assert world.place.asked == 1, "not again at once"


async def test_the_end_of_the_gateway_gives_all_back_and_says_so(world: World) -> None:
    await world.servers.server_of(TINY, LEASED)
    world.place.is_ready = False
    starting = asyncio.ensure_future(world.servers.server_of(model(BESIDE), BESIDE))
    world.place.has_started.clear()
    await asyncio.wait_for(world.place.has_started.wait(), 10)
    await world.servers.close()
    assert world.given_back(0) == ("The gateway was stopped.", True)
    assert world.given_back(1) is not None
    with pytest.raises(ModelAway, match="stopped"):
        await starting
    with pytest.raises(ModelAway):
        await world.servers.server_of(TINY, LEASED)


async def test_one_that_is_no_lease_never_leaves(world: World) -> None:
    there = await world.servers.server_of(model(UNMETERED), UNMETERED)
    await world.after(10 * HOUR_MS / 1000)
    assert there.takes_calls
    assert world.given_back(0) is None


# ---------------------------------------------------------------- which of a model's servers is asked


async def picked(servers: Servers, of: Model) -> Server:
    server = await servers.pick(of, ())
    server.running += 1
    return server


async def test_nothing_is_started_while_another_server_is_there(world: World) -> None:
    both = model(LEASED, THERE)
    servers = Servers([both], world.servers, lambda: world.seconds)
    busy = [await picked(servers, both) for _ in range(3)]
    assert {each.upstream for each in busy} == {THERE}
    busy[0].fell("connect", world.seconds)
    assert (await picked(servers, both)).upstream == LEASED
    await servers.close()


async def test_what_has_no_room_on_one_flavor_is_started_on_the_next(world: World) -> None:
    either = model(LEASED, BESIDE)
    world.place.full = {"gpu-1x"}
    servers = Servers([either], world.servers, lambda: world.seconds)
    assert (await picked(servers, either)).upstream == BESIDE
    assert (await picked(servers, either)).upstream == BESIDE, "it is there"
    world.place.full = {"gpu-1x", "gpu-2x"}
    world.place.made[0].is_alive = False
    with pytest.raises(NoRoomForModel):
        await servers.pick(either, ())
    await servers.close()


async def test_calls_go_on_where_they_began_while_new_ones_go_to_the_next(world: World) -> None:
    servers = Servers([TINY], world.servers, lambda: world.seconds)
    old = await picked(servers, TINY)
    world.to_end_in(world.place.made[0], 60)
    new = await picked(servers, TINY)
    assert new is not old
    assert (old.running, new.running) == (1, 1)
    await servers._close_replaced()
    assert [each.session.closed for each in (old, new)] == [False, False], "its call runs"
    servers.ended(old)
    await servers._close_replaced()
    assert [each.session.closed for each in (old, new)] == [True, False]
    await world.after(1)
    assert [each.given_back is None for each in world.place.made] == [False, True]
    await servers.close()
    assert new.session.closed


async def test_one_that_is_elsewhere_is_called_at_its_address_and_its_successor_at_the_next(world: World) -> None:
    servers = Servers([TINY], world.servers, lambda: world.seconds)
    world.place.at = "http://10.0.0.7:8000"
    old = await picked(servers, TINY)
    assert old.base == "http://10.0.0.7:8000/v1"
    world.place.at = "http://10.0.0.8:8000"
    world.place.made[0].is_alive = False
    assert (await picked(servers, TINY)).base == "http://10.0.0.8:8000/v1"
    assert old.base == "http://10.0.0.7:8000/v1", "its call goes on there"
    await servers.close()
