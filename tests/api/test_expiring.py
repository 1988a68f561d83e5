"""The cache of the hub's answers."""

from __future__ import annotations

import asyncio

import pytest

from sublet_hub.api.expiring import ExpiringCache


class Source:
    """Answers with a count, when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.asked += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return self.asked


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def cache(now: list[float]) -> ExpiringCache[str, int]:
    return ExpiringCache(10, 3, lambda: now[0])


async def test_an_answer_counts_from_when_it_was_asked_for(cache: ExpiringCache[str, int], now: list[float]) -> None:
    source = Source()
    asked = asyncio.create_task(cache.get("a", source))
    await asyncio.sleep(0)
    now[0] = 6
    source.go.set()
    assert await asked == 1
    now[0] = 9.9
    assert cache.fresh("a") == (1,)
    now[0] = 10
    assert cache.fresh("a") is None


async def test_a_failure_reaches_all_who_wait_and_is_not_kept(cache: ExpiringCache[str, int]) -> None:
    source = Source()
    source.error = ValueError("no")
    source.go.set()
    results = await asyncio.gather(*(cache.get("a", source) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    assert source.asked == 1
    source.error = None
    assert await cache.get("a", source) == 2


async def test_who_asked_first_may_go_away(cache: ExpiringCache[str, int]) -> None:
    source = Source()
    first, second = (asyncio.create_task(cache.get("a", source)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    source.go.set()
    assert await second == 1
    assert source.asked == 1


async def test_the_oldest_answers_make_room(cache: ExpiringCache[str, int]) -> None:
    source = Source()
    source.go.set()
    for key in "abcd":
        await cache.get(key, source)
    assert [cache.fresh(key) for key in "abcd"] == [None, (2,), (3,), (4,)]


async def test_what_is_not_worth_keeping_is_asked_for_again() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(10, 3, lambda: 0.0, lambda answer: answer > 1)
    source = Source()
    source.go.set()
    assert [await cache.get("a", source) for _ in range(3)] == [1, 2, 2]
