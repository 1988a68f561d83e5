"""What our server extension takes of a user's server's memory: after the start, and after minutes of work.

Every server serves its page, runs a kernel, and is then left to itself for some minutes. Those with the extension
follow their lease all the while, whose deadline an admin moves time and again, have a browser on their event stream,
and report their minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import httpx
import psutil

from tests.bench.api_alone import change_default_quota
from tests.bench.figures import Limit, Result, median
from tests.bench.lab_servers import GPU_SECONDS, LabServer, lab_server, platform_of
from tests.fixtures.platform import wait_until

AT_MOST_MB = 30.0
SERVERS, QUICK_SERVERS = 5, 1
MINUTES, QUICK_MINUTES = 5.0, 0.2
CHANGE_SECONDS = 5.0
LOW = 400
"""GPU-seconds a day: a lease is warned, as its deadline comes nearer."""

WITH, WITHOUT = "with the extension", "without"


def run(*, quick: bool) -> Result:
    servers, minutes = (QUICK_SERVERS, QUICK_MINUTES) if quick else (SERVERS, MINUTES)
    with platform_of(servers) as (settings, leases), ExitStack() as stack:
        of: dict[str, list[LabServer]] = {WITH: [], WITHOUT: []}
        for lease in leases:
            of[WITH].append(stack.enter_context(lab_server(lease)))
            of[WITHOUT].append(stack.enter_context(lab_server(None)))
        for server in (*of[WITH], *of[WITHOUT]):
            _work(server)
        begun = _all_mb(of)
        with httpx.Client(base_url=settings.api_url, timeout=60) as admin, ExitStack() as streams:
            heard = [streams.enter_context(_browser(server)) for server in of[WITH]]
            changes = _let_pass(admin, minutes * 60)
            for server in (*of[WITH], *of[WITHOUT]):
                _work(server)
            assert min(map(len, heard)) >= changes / 2, f"{changes} changes, but the streams told {heard}"
            later = _all_mb(of)
    started, worked = (median(mb[WITH]) - median(mb[WITHOUT]) for mb in (begun, later))
    return Result(
        title="Memory of a user's server, with our extension",
        limits=(
            Limit("MB more after the start", started, AT_MOST_MB),
            Limit(f"MB more after {minutes:g} minutes", worked, AT_MOST_MB),
        ),
        columns=(
            "server",
            "after the start: median MB",
            "most MB",
            f"after {minutes:g} minutes: median MB",
            "most MB",
        ),
        rows=tuple((name, *_cells(begun[name]), *_cells(later[name])) for name in of),
        samples=f"{servers} servers of each kind, side by side",
        notes=(
            "Memory that the server's process has for itself (USS): its kernels are left out, and what it shares",
            f"with other processes. Deadlines moved {changes} times, and each was told to a browser.",
        ),
    )


def _work(server: LabServer) -> None:
    """What every server does at some time: its page, its files, a kernel and a terminal."""
    with server.client as client:
        for path in ("/lab", "/api/contents", "/lab/api/settings", "/api/kernelspecs"):
            client.get(path).raise_for_status()
        xsrf = {"X-XSRFToken": client.cookies["_xsrf"]}
        kernel = client.post("/api/kernels", headers=xsrf).raise_for_status().json()["id"]
        wait_until(lambda: _has_run(client, kernel), 60, "the kernel has started")
        client.delete(f"/api/kernels/{kernel}", headers=xsrf).raise_for_status()
        terminal = client.post("/api/terminals", headers=xsrf).raise_for_status().json()["name"]
        client.delete(f"/api/terminals/{terminal}", headers=xsrf).raise_for_status()


def _has_run(client: httpx.Client, kernel: str) -> bool:
    state: str = client.get(f"/api/kernels/{kernel}").raise_for_status().json()["execution_state"]
    return state in {"starting", "idle"}


@contextmanager
def _browser(server: LabServer) -> Iterator[list[str]]:
    """The names of the events that a browser is told meanwhile."""
    heard: list[str] = []
    with server.client as client, client.stream("GET", "/sublet/events", timeout=None) as response:
        threading.Thread(target=_gather, args=(response, heard), daemon=True).start()
        yield heard


def _gather(response: httpx.Response, heard: list[str]) -> None:
    try:
        heard.extend(line for line in response.iter_lines() if line.startswith("event:"))
    except (httpx.StreamError, httpx.TransportError):
        return  # it is over


def _let_pass(admin: httpx.Client, seconds: float) -> int:
    """Let the time pass, and all deadlines move; gives how often they did."""
    until, changes = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        time.sleep(CHANGE_SECONDS)
        changes += 1
        change_default_quota(admin, LOW if changes % 2 else GPU_SECONDS)
    return changes


def _all_mb(of: Mapping[str, Sequence[LabServer]]) -> dict[str, list[float]]:
    return {name: [_mb(server) for server in servers] for name, servers in of.items()}


def _mb(server: LabServer) -> float:
    return float(psutil.Process(server.process.pid).memory_full_info().uss) / 1e6


def _cells(mb: Sequence[float]) -> tuple[str, ...]:
    return f"{median(mb):.1f}", f"{max(mb):.1f}"
