"""`sublet.on_notice`: functions that are called when the server is warned, and when it ends.

    @sublet.on_notice
    def checkpoint(notice):
        if notice.seconds_left < 120:
            torch.save(model.state_dict(), "last.pt")

They run in a thread of their own, one after another, also while a cell computes or a script works.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from pathlib import PurePath
from typing import Any, TypeVar

from sublet.errors import NotInALease, Unavailable
from sublet.listening import Callback, Listener

SOCKET_VARIABLE = "SUBLET_EVENTS_SOCKET"


F = TypeVar("F", bound=Callback)


def on_notice(fn: F) -> F:
    """Have a function called, with a `Notice`, at each warning and at the end. May stand above it as a decorator.

    - Functions run one after another in a thread of their own, so also while a cell is busy; what they share with
      the cell they have to guard as threads do. Once the end is there, those left of a warning are passed over.
    - Warnings that stand already are told of at once to the first that is registered.
    - What is still running at the deadline is cut off when the kernel is killed. Write to a file beside, and rename.
    - One that raises is shown in this kernel's stderr; the others run all the same.
    - A function of the same name takes the place of the former, so that a cell may be run twice.

    NotInALease outside a lease; Unavailable where the server was started without Sublet's extension. Not inherited by
    forked processes.
    """
    given: object = fn
    if not callable(given) or inspect.iscoroutinefunction(given):
        raise TypeError("sublet.on_notice takes a plain function of one argument, the notice.")
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise _not_here()
    _state.add(fn, path)
    return fn


def off_notice(fn: Callback) -> None:
    """Have a function no longer called. Nothing happens where it is not registered."""
    _state.remove(fn)


def _not_here() -> NotInALease | Unavailable:
    if os.environ.get("SUBLET_LEASE_ID"):
        return Unavailable(
            f"Notices can't be heard here: {SOCKET_VARIABLE} is not set, so this Python was not started by the"
            " notebook server with Sublet's extension. Ask for the time left instead: sublet.lease().seconds_left"
        )
    return NotInALease(
        f"This Python does not run in a Sublet lease ({SOCKET_VARIABLE} not set), so no notice can come."
        " Run it in a notebook or terminal that was started on the platform."
    )


class _State:
    """The functions of this process, and the thread that calls them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: tuple[Callback, ...] = ()
        self._listener: Listener | None = None

    def callbacks(self) -> tuple[Callback, ...]:
        return self._callbacks

    def add(self, fn: Callback, path: str) -> None:
        with self._lock:
            others = (each for each in self._callbacks if each != fn and _name(each) != _name(fn))
            self._callbacks = (*others, fn)
            if self._listener is None:
                self._listener = Listener(path, _kernel_id(), self.callbacks)
                self._listener.start()
            else:
                self._listener.changed()

    def remove(self, fn: Callback) -> None:
        with self._lock:
            self._callbacks = tuple(each for each in self._callbacks if each != fn)
            if self._listener is not None:
                self._listener.changed()

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.stop()


def _name(fn: Callback) -> object:
    """What two functions have in common where one is the other, defined anew; else what is a thing's own."""
    if inspect.isfunction(fn) and "<" not in fn.__qualname__:
        return fn.__module__, fn.__qualname__
    return id(fn)


def _kernel_id() -> str | None:
    """The id that the notebook server has given this kernel; None in a script."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython else None
    if shell is None or "IPKernelApp" not in shell.config:
        return None
    file = shell.config["IPKernelApp"].get("connection_file")
    name = PurePath(file).name if isinstance(file, str) else ""
    return name.removeprefix("kernel-").removesuffix(".json") if name.startswith("kernel-") else None


def _forget() -> None:
    """A forked process has no thread to call them, and they are its parent's."""
    global _state  # noqa: PLW0603 — its lock may be held by a thread that the new process doesn't have
    _state = _State()


_state = _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
