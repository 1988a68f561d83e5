"""One child process of `sublet up`: started on a leash, its output in a file, started again when it dies."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from sublet_hub.run.parts import Part

PR_SET_PDEATHSIG = 1
FIRST_BACKOFF_SECONDS = 0.2
STEADY_SECONDS = 30.0
"""A child that has lived this long is no longer taken for one that keeps dying."""

LOG_BYTES_MAX = 20 * 2**20
PROBE_TIMEOUT_SECONDS = 1.0

_LIBC = ctypes.CDLL(None, use_errno=True)


def leash() -> Callable[[], None]:
    """What a child runs between fork and exec so that it gets SIGKILL when we die, however we die."""
    parent = os.getpid()

    def put_on() -> None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # we died before the leash was on
            os._exit(1)

    return put_on


class Child:
    """A part while we run it. Not thread-safe: the one thread of `up` owns it."""

    def __init__(self, part: Part, env: Mapping[str, str], logs: Path, backoff_max_seconds: float) -> None:
        self.part = part
        self.log_file = logs / f"{part.name}.log"
        self.starts = 0
        self.backoff_seconds = FIRST_BACKOFF_SECONDS
        self.restart_at = 0.0
        self._env = env
        self._backoff_max_seconds = backoff_max_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._started_at

    def start(self) -> None:
        """Start the process, in a session of its own so that the terminal's Ctrl-C reaches only us.

        It gets SIGKILL when we die, so that a killed `up` leaves no half platform behind that holds the
        ports.
        """
        self.trim_log()
        with self.log_file.open("ab") as log:
            # We have one thread, so that nothing can hold a lock across the fork.
            self._process = subprocess.Popen(
                self.part.argv,
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=leash(),  # noqa: PLW1509 — see above
            )
        self.starts += 1
        self._started_at = time.monotonic()

    def ended(self) -> int | None:
        """The exit code (negative: the signal) if the process has ended, else None."""
        return self._process.poll() if self._process else 0

    def plan_restart(self) -> float:
        """Decide when to start again after an end; returns the wait in seconds, longer each time it dies
        young."""
        if self.age_seconds > STEADY_SECONDS:
            self.backoff_seconds = FIRST_BACKOFF_SECONDS
        wait = self.backoff_seconds
        self.restart_at = time.monotonic() + wait
        self.backoff_seconds = min(2 * wait, self._backoff_max_seconds)
        self._process = None
        return wait

    def answers(self) -> bool:
        """Whether it answers on its URL now."""
        try:
            answer = httpx.get(
                self.part.ready_url,
                headers=dict(self.part.ready_headers),
                timeout=PROBE_TIMEOUT_SECONDS,
                trust_env=False,
            )
        except httpx.HTTPError:
            return False
        return answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing where it has ended."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its output, for the terminal when it could not start."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, self.log_file.stat().st_size - 16_384))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def trim_log(self) -> None:
        """Keep the log under a size: the old content moves to `.log.1`. The writer appends, so it goes on
        below."""
        try:
            if self.log_file.stat().st_size < LOG_BYTES_MAX:
                return
        except FileNotFoundError:
            return
        self.log_file.with_suffix(".log.1").write_bytes(self.log_file.read_bytes())
        os.truncate(self.log_file, 0)
