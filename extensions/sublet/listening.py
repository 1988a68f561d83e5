"""Hearing of notices and of the end from the notebook server, over its Unix socket: lines of JSON each way."""

from __future__ import annotations

import itertools
import json
import queue
import random
import socket
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from sublet.events import Event, Notice

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
FAILURES_BEFORE_A_WORD = 3
SEND_SECONDS = 5
LONGEST_LINE_BYTES = 64 * 1024
REMEMBERED = 256

Callback = Callable[[Notice], object]


class Listener:
    """One thread that stays connected, with back-off, and one that calls what is registered, one after another."""

    def __init__(self, path: str, kernel: str | None, callbacks: Callable[[], tuple[Callback, ...]]) -> None:
        self._path = path
        self._kernel = kernel
        self._callbacks = callbacks
        self._sending = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = threading.Event()
        self._runs = itertools.count(1)
        # After a new connection the server may tell again what it has told.
        self._heard: deque[str] = deque(maxlen=REMEMBERED)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._end_waits = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="sublet-notices", daemon=True).start()
        threading.Thread(target=self._call_always, name="sublet-callbacks", daemon=True).start()

    def stop(self) -> None:
        """Hear no more. A kernel never does; its thread ends with it."""
        self._over.set()
        with self._sending:
            if self._socket is not None:
                self._hang_up(self._socket)

    def changed(self) -> None:
        """Tell the server how many functions there are now."""
        self._tell({"kernel": self._kernel, "callbacks": len(self._callbacks())})

    # ---------------------------------------------------------------- the connection

    def _run(self) -> None:
        failures, wait = 0, 0.0
        while not self._over.wait(wait):
            begun, trouble = time.monotonic(), "the server closes the connection"
            try:
                self._follow()
            except OSError as error:
                trouble = str(error)
            failures = failures + 1 if time.monotonic() - begun < LONGEST_WAIT_SECONDS else 1
            if failures == FAILURES_BEFORE_A_WORD:
                _say(f"sublet: notices can't be heard at the moment ({trouble}); trying again.")
            wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 10))
            wait *= random.uniform(0.5, 1)  # noqa: S311 — no secret

    def _follow(self) -> None:
        """Connect, and hear until the other side closes. OSError where nobody is there."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
            connection.connect(self._path)
            with connection.makefile("rb") as lines:
                try:
                    with self._sending:
                        self._socket = connection
                    self.changed()
                    while line := lines.readline(LONGEST_LINE_BYTES):
                        self._hear(line)
                finally:
                    with self._sending:
                        self._socket = None

    def _tell(self, document: Mapping[str, object]) -> None:
        """To the server, if it is there; it learns the rest on the next connection."""
        with self._sending:
            if self._socket is None:
                return
            try:
                self._socket.sendall(json.dumps(document).encode() + b"\n")
            except OSError:
                # Half a line may be out: the reader shall see the end, and connect anew.
                self._hang_up(self._socket)

    @staticmethod
    def _hang_up(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    # ---------------------------------------------------------------- what is heard

    def _hear(self, line: bytes) -> None:
        try:
            event = Event.from_json(json.loads(line))
        except (LookupError, TypeError, ValueError) as error:
            _say(f"sublet: a notice was not understood ({type(error).__name__}).")
            return
        if event is not None and event.id not in self._heard:
            self._heard.append(event.id)
            if event.ending:
                self._end_waits.set()
            self._events.put(event)

    # ---------------------------------------------------------------- calling

    def _call_always(self) -> None:
        while True:
            event = self._events.get()
            if event.ending:
                self._end_waits.clear()
            self._call_all(event)

    def _call_all(self, event: Event) -> None:
        for fn in self._callbacks():
            if self._end_waits.is_set():
                return  # the rest is called at once, for the end: seconds are few
            run = str(next(self._runs))
            self._tell({"running": run})
            begun = time.monotonic()
            error = self._call(fn, event)
            self._tell({"done": run, "seconds": round(time.monotonic() - begun, 3), "error": error})

    def _call(self, fn: Callback, event: Event) -> str | None:
        """The class of what it raised; None where all went well."""
        try:
            fn(event.notice())
        except BaseException as error:  # noqa: BLE001 — user code; the other functions have to run whatever it does
            own = error.__traceback__.tb_next if error.__traceback__ else None
            shown = "".join(traceback.format_exception(error.with_traceback(own)))
            _say(f"sublet.on_notice: {getattr(fn, '__qualname__', type(fn).__qualname__)} failed.\n{shown.rstrip()}")
            return type(error).__name__
        return None


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # it may be closed
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
