"""What api and gateway have in common as processes: how uvicorn serves them, how they end, what they may open."""

from __future__ import annotations

import resource
import signal
from types import FrameType
from typing import Any

import uvicorn

from sublet_hub.http_protocol import HangingUp

KEEP_ALIVE_SECONDS = 75
"""How long an unused connection is kept: longer than proxies keep theirs, so that it is they who close."""


def uvicorn_config(
    app: Any, host: str, port: int, *, stop_seconds: int, protocol: type[HangingUp] = HangingUp
) -> uvicorn.Config:
    """No access log: who asked for what, and how often, is in the metrics, without names. `stop_seconds`: how long
    requests that run may take to end when the process is told to stop."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop_seconds,
    )


def outlive_signals() -> None:
    """Let SIGTERM and SIGINT end uvicorn and nothing else, so that what comes after it in the program is done."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _noted)


def _noted(_signal: int, _frame: FrameType | None) -> None:
    """Nothing: uvicorn, once it has stopped, sends the signal again to whoever handled it before."""


def allow_files(wanted: int) -> int:
    """Let the process have so many files open, as far as it may raise that by itself; gives how many it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
