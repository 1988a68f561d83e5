"""Loops that go on whatever happens in them, and how long to wait before trying again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from logging import Logger

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 30.0
"""What has gone well for so long begins anew with short pauses."""

Draw = Callable[[float, float], float]


def pause(failures: int, longest: float = LONGEST_PAUSE_SECONDS, draw: Draw = random.uniform) -> float:
    """Seconds to wait after so many failures in a row: exponential, with full jitter.

    Thousands of servers lose the platform at the same moment; anything less than full jitter brings them back at one.
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return draw(0, min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 30)))


async def keep_going(name: str, work: Callable[[], Awaitable[None]], log: Logger) -> None:
    """Run `work` until it returns. What it raises is logged, and it is tried again: the server must not suffer."""
    failures = 0
    clock = asyncio.get_running_loop().time
    while True:
        begun = clock()
        try:
            await work()
            return
        except Exception:
            failures = 0 if clock() - begun > STEADY_SECONDS else failures + 1
            wait = FIRST_PAUSE_SECONDS + pause(failures)
            log.exception("Sublet: %s failed, and is tried again in %.0f s", name, wait)
            await asyncio.sleep(wait)
