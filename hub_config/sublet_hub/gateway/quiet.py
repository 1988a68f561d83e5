"""Logging that can't hold what was said: only our own sentences are written, of everything else the bare fact.

Libraries put pieces of requests and answers into messages and exceptions (a parser quotes the line it stumbles over).
So a record of theirs is written as its logger's name and level, at whatever level is set, and an exception,
anybody's, as its class and the places in the code that it came through.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
import traceback
from types import TracebackType

OURS = "sublet_hub."
LAYOUT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class QuietFormatter(logging.Formatter):
    """Writes our own messages, and that others had something to say."""

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.startswith(OURS)
        shown = logging.makeLogRecord(record.__dict__ | {"exc_info": None, "exc_text": None, "stack_info": None})
        if not ours:
            shown.msg, shown.args = "(said something, which is not kept: it may hold what was asked or answered)", ()
        line = super().format(shown)
        if record.exc_info and record.exc_info[0] is not None:
            line = f"{line}\n{places(record.exc_info[0], record.exc_info[2])}"
        return line


def places(kind: type[BaseException], trace: TracebackType | None) -> str:
    """An exception without its message: its class, and where it came through."""
    frames = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(trace, limit=40)]
    return "\n".join([f"{kind.__module__}.{kind.__qualname__}, at", *frames])


def keep_quiet(level: int = logging.INFO) -> None:
    """Set up logging, uncaught exceptions and core dumps of this process so that none holds content."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(QuietFormatter(LAYOUT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("asyncio", "aiohttp", "uvicorn", "httpx", "httpcore"):
        logger = logging.getLogger(chatty)
        logger.handlers[:] = []
        logger.propagate = True
        if level > logging.DEBUG:
            logger.setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_loop_quiet(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio's own report of an exception that nobody awaited quotes it, and the task."""
    loop.set_exception_handler(_in_the_loop)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        return
    sys.stderr.write(f"uncaught {places(kind, trace)}\n")


def _in_the_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    said = places(type(error), error.__traceback__) if isinstance(error, BaseException) else "no exception"
    sys.stderr.write(f"in the event loop: {said}\n")
