"""Starting the parts in order, keeping them up, and stopping them in the order that loses nothing."""

from __future__ import annotations

import logging
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sublet_hub.run.child import Child
from sublet_hub.run.parts import Part, environment
from sublet_hub.settings import Settings

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_ATTEMPTS_MAX = 3
WATCH_SECONDS = 0.2
TRIM_LOGS_SECONDS = 60.0
SAME_WISH_SECONDS = 1.0
GREET_AGAIN_SECONDS = 1.0
KILL_SECONDS = 5.0
"""How long the kernel may take to end a killed process."""


class StartFailed(Exception):
    """A part did not come up; the message has the end of its log."""


class Stopped(Exception):
    """A stop was asked for while the parts were starting."""


@contextmanager
def stops_held_back() -> Iterator[None]:
    """Have a stop that is asked for in this block wait until `Platform.signals`, or the end of the block: an
    exception out of nowhere may leave half a database, or be lost in a library."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Platform:
    """The parts of one platform, run by one thread."""

    def __init__(self, settings: Settings, parts: Sequence[Part], on_restart: Callable[[str], bool]) -> None:
        """`on_restart` is called with a part's name when it answers again after it had died, and again every
        second until it says True."""
        self.children = {
            part.name: Child(
                part, environment(settings, part), settings.logs_dir, settings.restart_backoff_max_seconds
            )
            for part in parts
        }
        self._settings = settings
        self._on_restart = on_restart
        self._stops = 0
        self._last_stop_at = -SAME_WISH_SECONDS
        self._returning: set[str] = set()
        self._to_greet: dict[str, float] = {}
        self._wake, self._waker = socket.socketpair()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take over the signals that stop us, while the block runs. The end of a child wakes us too."""
        self._waker.settimeout(0)
        self._wake.settimeout(0)
        before = {number: signal.signal(number, self._on_stop) for number in STOP_SIGNALS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        fd_before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd_before)
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self) -> None:
        """Start the first part, and when it answers all others. StartFailed, or Stopped if asked to
        meanwhile."""
        first, *others = self.children.values()
        for group in ([first], others):
            for child in group:
                child.start()
            for child in group:
                self._await_ready(child)

    def watch(self) -> None:
        """Keep all parts running until a stop is asked for. Never raises for a part that dies."""
        trim_at = time.monotonic() + TRIM_LOGS_SECONDS
        while not self._stops:
            for child in self.children.values():
                self._keep_up(child)
            self._greet()
            if time.monotonic() > trim_at:
                trim_at = time.monotonic() + TRIM_LOGS_SECONDS
                for child in self.children.values():
                    child.trim_log()
            self._pause()

    def stop(self, name: str) -> None:
        """Stop one part and wait for its end; SIGKILL if it takes too long, or at once after a second
        Ctrl-C."""
        child = self.children.get(name)
        if child is None:
            return
        child.signal(signal.SIGTERM)
        if not self.wait_until(lambda: child.ended() is not None, self._settings.stop_timeout_seconds):
            log.warning("%s did not stop in time and is killed", name)
            child.signal(signal.SIGKILL)
            self.wait_until(lambda: child.ended() is not None, KILL_SECONDS)

    def stop_all(self) -> None:
        for name in reversed(self.children):
            self.stop(name)

    @property
    def in_haste(self) -> bool:
        """Whether a stop was asked for a second time."""
        return self._stops >= 2

    def wait_until(self, done: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait for a condition; False where the time is up or we are in haste."""
        deadline = time.monotonic() + timeout_seconds
        while not done():
            if time.monotonic() > deadline or self.in_haste:
                return False
            self._pause()
        return True

    def _await_ready(self, child: Child) -> None:
        deadline = time.monotonic() + self._settings.start_timeout_seconds
        while not child.answers():
            if self._stops:
                raise Stopped
            code = child.ended()
            if code is not None:
                if child.starts >= START_ATTEMPTS_MAX:
                    raise StartFailed(_failure(child, f"ended with exit code {code}"))
                child.start()
            elif time.monotonic() > deadline:
                raise StartFailed(_failure(child, f"did not answer within {self._settings.start_timeout_seconds} s"))
            self._pause()
        log.info("%s answers, after %.1f s", child.part.name, child.age_seconds)

    def _keep_up(self, child: Child) -> None:
        """One look at one part: note its end, start it again when its wait is over, note its return."""
        name = child.part.name
        if child.pid is None:
            if time.monotonic() >= child.restart_at:
                child.start()
                self._returning.add(name)
            return
        code = child.ended()
        if code is not None:
            wait = child.plan_restart()
            log.warning(
                "%s ended (exit code %s); starting it again in %.1f s. Its log: %s",
                name,
                code,
                wait,
                child.log_file,
            )
        elif name in self._returning and child.answers():
            self._returning.discard(name)
            log.info("%s is back, after %.1f s", name, child.age_seconds)
            self._to_greet[name] = time.monotonic()

    def _greet(self) -> None:
        """Tell of the parts that are back; where that can't be done yet (the hub is away as well), try again."""
        for name, at in list(self._to_greet.items()):
            if time.monotonic() >= at:
                self._to_greet[name] = time.monotonic() + GREET_AGAIN_SECONDS
                if self._on_restart(name):
                    del self._to_greet[name]

    def _pause(self) -> None:
        """Sleep until a signal or the next look is due."""
        select.select([self._wake], [], [], WATCH_SECONDS)
        try:
            while self._wake.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _on_stop(self, _number: int, _frame: object) -> None:
        """Count the wish to stop. One wish may arrive twice: to the process group, and passed on by
        `make`."""
        now = time.monotonic()
        if now - self._last_stop_at > SAME_WISH_SECONDS:
            self._stops += 1
        self._last_stop_at = now


def _failure(child: Child, what: str) -> str:
    return f"{child.part.name} {what}. The end of {child.log_file}:\n\n{child.log_tail()}"
