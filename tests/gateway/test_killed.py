"""A gateway that is killed at any moment and started again: nothing lost that had ended, nothing booked twice,
nothing held for ever. And several gateways side by side."""

from __future__ import annotations

import concurrent.futures
import random
import threading

import httpx
import pytest

from tests.fixtures.site import wait_until
from tests.gateway.conftest import World
from tests.gateway.running import Gateway, allow_tokens, held, stopped_after, until_used, used

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CALLERS = 4
KILLS = 3


def journals(world: World) -> list[str]:
    return sorted(path.name for path in (world.data / "gateway" / "journal").iterdir())


def test_what_had_ended_when_it_was_killed_is_booked_once_by_the_next(world: World) -> None:
    token = world.user("ann")
    first = world.another()
    for _ in range(5):
        assert first.chat("one two", token, max_tokens=3).status_code == 200
    first.kill()
    already = used(world.api, "ann")[0]
    world.another()
    until_used(world.api, (5, 10, 15), "ann")
    assert already <= 5
    wait_until(lambda: held(world.api, "ann") == 0, 30, "what the dead one held is given back")


def test_a_gateway_that_never_comes_back_leaves_its_journal_to_the_others(world: World) -> None:
    """Another one that runs already doesn't take it; the next to start does."""
    token = world.user("ben")
    lost = world.another()
    lost.chat("one two", token, max_tokens=3)
    lost.kill()
    before = len(journals(world))
    next_one = world.another()
    until_used(world.api, (1, 2, 3), "ben")
    wait_until(lambda: len(journals(world)) == before, 30, "the dead one's journal is gone, the new one's is there")
    assert next_one.stop() == 0
    assert len(journals(world)) == before - 1, "and an orderly end leaves none"


def test_an_orderly_end_books_and_releases_everything(world: World) -> None:
    token = world.user("cleo")
    gateway = world.another()
    gateway.chat("one two", token, max_tokens=3)
    assert gateway.stop() == 0
    assert used(world.api, "cleo") == (1, 2, 3)
    assert held(world.api, "cleo") == 0


def test_an_orderly_end_lets_calls_finish(world: World) -> None:
    token = world.user("dora")
    gateway = world.another()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(gateway.chat, "[slow] two", token, max_tokens=15, stream=True)
        wait_until(lambda: gateway.metric("sublet_gateway_calls_running") == 1, 20, "the call runs")
        assert gateway.stop() == 0
        assert call.result().text.endswith("data: [DONE]\n\n")
    assert used(world.api, "dora") == (1, 2, 15)


def test_while_the_api_is_away_nothing_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go on with what is held; what they used is booked when the api is back."""
    from sublet_hub.domain.errors import Unavailable
    from sublet_hub.storage import allowing

    token = world.user("emil")
    assert world.gateway.chat("one two", token, max_tokens=3).status_code == 200
    until_used(world.api, (1, 2, 3), "emil")

    def away(*_: object) -> None:
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(allowing, "post", away)
        patched.setattr(allowing, "allow", away)
        for _ in range(3):
            assert world.gateway.chat("one two", token, max_tokens=3).status_code == 200
        other = world.gateway.chat("one two", world.user("fritz"), max_tokens=3)
        assert other.status_code == 503
        assert other.json()["type"].endswith("/unavailable")
        failed = "sublet_gateway_posts_total"
        wait_until(lambda: world.gateway.metric(failed, outcome="failed") >= 1, 20, "a post fails")
        assert used(world.api, "emil") == (1, 2, 3)
        assert world.gateway.metric("sublet_gateway_unposted_calls") == 3
    until_used(world.api, (4, 8, 12), "emil")


def test_a_post_whose_answer_was_lost_is_booked_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from sublet_hub.domain.errors import Unavailable
    from sublet_hub.storage import allowing

    token = world.user("gus")
    post, lost = allowing.post, threading.Event()

    def booked_but_unheard(*told: object) -> object:
        answer = post(*told)  # type: ignore[arg-type]
        if not lost.is_set():
            lost.set()
            raise Unavailable("The answer is lost.")
        return answer

    monkeypatch.setattr(allowing, "post", booked_but_unheard)
    world.gateway.chat("one two", token, max_tokens=3)
    assert lost.wait(20)
    world.gateway.chat("one two", token, max_tokens=3)
    until_used(world.api, (2, 4, 6), "gus")
    wait_until(lambda: held(world.api, "gus") == 0, 30, "the hold is released")
    assert used(world.api, "gus") == (2, 4, 6)


def test_replicas_share_a_quota_without_spending_it_twice(world: World) -> None:
    token = world.user("hal")
    allow_tokens(world.api, 900, "hal")
    gateways = [world.gateway, world.another()]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        calls = [
            pool.submit(gateways[number % 2].chat, "[slow] hi", token, max_tokens=20, stream=number % 3 == 0)
            for number in range(30)
        ]
        answers = [call.result() for call in calls]
    good = sum(answer.status_code == 200 for answer in answers)
    assert {answer.status_code for answer in answers} == {200, 429}
    until_used(world.api, (good, 2 * good, 20 * good), "hal")
    assert 22 * good <= 900


def test_killed_again_and_again_under_load(world: World) -> None:
    """Every answer that arrived whole is in the ledger, and none that wasn't asked for."""
    token, chance = world.user("ida"), random.Random(5)
    gateway = Gateway(world.data, world.api.url, settings=world.gateway.settings)
    whole, asked, stop = [0] * CALLERS, [0] * CALLERS, threading.Event()

    def call(number: int) -> None:
        while not stop.is_set():
            stream = bool(number % 2)
            try:
                asked[number] += 1
                answer = gateway.chat("one two", token, max_tokens=3, stream=stream)
            except httpx.HTTPError:
                continue
            whole[number] += answer.status_code == 200 and (not stream or answer.text.endswith("[DONE]\n\n"))

    with stopped_after(gateway):
        gateway.start()
        threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(KILLS):
                so_far = sum(whole)
                more = so_far + chance.randrange(5, 60)
                wait_until(lambda more=more: sum(whole) > more, 60, "more calls are answered")  # type: ignore[misc]
                gateway.kill()
                gateway.start()
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        assert gateway.stop() == 0
    calls, given, made = used(world.api, "ida")
    assert sum(whole) <= calls <= sum(asked)
    assert (given, made) == (2 * calls, 3 * calls)
    assert held(world.api, "ida") == 0
