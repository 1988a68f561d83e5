"""Seconds from the request for a server to its first answer: Sublet against the same JupyterHub without it.

Both hubs run side by side, with the same versions of everything, the same authenticator, and the same notebook
environment; servers are started in turns, so that whatever else the machine does meets both alike. A start is timed
from POST /hub/api/users/{name}/server to the first 200 of /user/{name}/api, through the proxy, as any client would.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from sublet_hub.run.parts import node
from sublet_hub.settings import Settings
from tests.bench.figures import Limit, Result, median, percentile
from tests.fixtures.platform import Platform, Session, wait_until

AT_MOST = 1.05
USER = "alice"
PATIENCE_SECONDS = 90
BETWEEN_LOOKS_SECONDS = 0.02
REST_SECONDS = 1.0
"""Between a stop and the next start, for what is left of the stop to be done with. The same for both."""

COLUMNS = ("hub", "median in s", "p10 in s", "p90 in s")

Way = tuple[Session, Mapping[str, str]]
"""Who starts a server where, and with what options."""

CONFIG = Path(__file__).with_name("stock_hub_config.py")
CATALOG = """\
[[pools]]
name = "simulated-gpu"
gpu_model = "Simulated GPU"
simulated = true
devices = ["SIM-0", "SIM-1"]

[[flavors]]
name = "one"
title = "1 x Simulated GPU"
pool = "simulated-gpu"
gpus = 1
cpus = 1
memory_gib = 1
prices = { guaranteed = 2000000 }
"""


@dataclass
class StockHub(Platform):
    """JupyterHub alone, in the place of a platform."""

    tiny: bool = False

    @property
    def environment(self) -> dict[str, str]:
        script = Settings(data=self.folder).proxy_script
        return {
            **os.environ,
            "BENCH_FOLDER": str(self.folder),
            "BENCH_PORT": str(self.port),
            "BENCH_PROXY": f"{node()}\n{script}",
            "BENCH_PASSWORD": self.credentials()["user_password"],
            "BENCH_SINGLEUSER": str(Settings(data=self.folder).notebook_python.parent / "jupyterhub-singleuser"),
        }

    def credentials(self) -> dict[str, str]:
        path = self.folder / "password"
        if not path.exists():
            path.write_text(secrets.token_urlsafe(12))
        return {"admin_user": "admin", "user_password": path.read_text()}

    def start(self, seconds: float = PATIENCE_SECONDS) -> Self:
        command = [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)]
        with (self.folder / "hub.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, seconds, "the hub answers")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return httpx.get(f"{self.url}/hub/api/", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def sign_in(self, user: str) -> Session:
        """As for a platform, but for the redirect after it, which would start a server."""
        with httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS, trust_env=False) as browser:
            browser.get("/hub/login").raise_for_status()
            form = {
                "username": user,
                "password": self.credentials()["user_password"],
                "_xsrf": browser.cookies["_xsrf"],
            }
            assert browser.post("/hub/login", data=form).is_redirect
            browser.get("/hub/token").raise_for_status()
            xsrf = next(cookie.value for cookie in browser.cookies.jar if cookie.name == "_xsrf")
            made = browser.post(f"/hub/api/users/{user}/tokens", headers={"X-XSRFToken": xsrf or ""}, json={})
            return Session(user, self._client(made.raise_for_status().json()["token"]))

    def log(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")[-4000:]


def run(*, quick: bool) -> Result:
    rounds, warm_up = (3, 1) if quick else (16, 2)
    with _folder() as ours, _folder() as stock:
        hubs = (_sublet(ours), StockHub(stock))
        try:
            for hub in hubs:
                hub.start()
            return _measure(*hubs, rounds, warm_up)
        except Exception:
            for hub in hubs:
                sys.stderr.write(hub.log())
            raise
        finally:
            for hub in hubs:
                if hub.process is not None and hub.process.poll() is None:
                    hub.stop()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sublet-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _sublet(folder: Path) -> Platform:
    return Platform(folder, tiny=False).with_catalogue(CATALOG)


def _measure(ours: Platform, stock: Platform, rounds: int, warm_up: int) -> Result:
    at_ours, at_stock = ours.sign_in(USER), stock.sign_in(USER)
    ways: dict[str, Way] = {
        "Sublet": (at_ours, {"flavor": "one"}),
        "JupyterHub alone": (at_stock, {}),
        "JupyterHub alone, told to look every 50 ms": (at_stock, {"eager": "yes"}),
    }
    seconds = in_turns(ways, rounds, warm_up)
    sublet, alone, eager = map(median, seconds.values())
    return Result(
        title="From the request for a server to JupyterLab",
        limits=(Limit("ratio of medians", sublet / alone, AT_MOST),),
        columns=COLUMNS,
        rows=rows_of(seconds),
        samples=f"{rounds} starts each, in turns",
        notes=(
            f"Against a hub that is as quick to notice that a server listens, the ratio is {sublet / eager:.2f}.",
        ),
    )


def in_turns(ways: Mapping[str, Way], rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Seconds of each start, by way; who begins changes from round to round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm_up + rounds):
        turns = list(ways)
        turns = turns[number % len(turns) :] + turns[: number % len(turns)]
        for name in turns:
            session, options = ways[name]
            taken = _start(session, options)
            _stop(session)
            if number >= warm_up:
                seconds[name].append(taken)
    return seconds


def rows_of(seconds: Mapping[str, Sequence[float]]) -> tuple[tuple[str, ...], ...]:
    """A row for each way, with `COLUMNS`."""
    return tuple(
        (name, f"{median(of):.2f}", f"{percentile(of, 10):.2f}", f"{percentile(of, 90):.2f}")
        for name, of in seconds.items()
    )


def _start(session: Session, options: Mapping[str, str]) -> float:
    begun = time.perf_counter()
    session.start_server(**options).raise_for_status()
    while not session.client.get(f"/user/{session.user}/api").is_success:
        assert time.perf_counter() - begun < PATIENCE_SECONDS, "the server does not answer"
        time.sleep(BETWEEN_LOOKS_SECONDS)
    return time.perf_counter() - begun


def _stop(session: Session) -> None:
    session.stop_server().raise_for_status()
    wait_until(lambda: session.server() is None, PATIENCE_SECONDS, "the server is gone")
    time.sleep(REST_SECONDS)
