"""SIGTERM: some seconds for saving first, while the server still listens; then what Jupyter Server does at it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType


def heed_sigterm(prepare: Callable[[], Awaitable[None]]) -> None:
    """Await `prepare` before the signal's handler of now is called. A second signal calls it at once.

    Jupyter Server closes its listening socket as the first thing it does at the signal, and a browser that comes by
    way of the proxy needs a new connection to save.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        return  # a server that is embedded in something else, which has its own ways
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []

    async def prepare_and_stop(number: int, frame: FrameType | None) -> None:
        try:
            await prepare()
        finally:
            before(number, frame)

    def begin(number: int, frame: FrameType | None) -> None:
        if tasks:
            before(number, frame)
        else:
            tasks.append(loop.create_task(prepare_and_stop(number, frame)))

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin, number, frame)

    signal.signal(signal.SIGTERM, on_signal)
