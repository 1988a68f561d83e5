"""What calls have used, on disk, until the ledger has it: counts only, one line for each event, appended.

A line is written before the answer of its call ends, so that a gateway that is killed loses no call that had ended;
and a post's number before the post is sent, so that the same post, with the same number, is sent again, which the api
books once. Each gateway process has files of its own, held by a lock; what a dead one left is taken over at the next
start.

    {"open": HOLD, "user": U, "account": A}                a hold was granted
    {"call": HOLD, "model": M, "in": N, "out": N}          a call has ended
    {"post": HOLD, "number": K}                            all calls so far that are in no earlier post are in post K
    {"done": HOLD, "number": K}                            post K is booked
    {"close": HOLD}                                        the hold is released, all of it is booked
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sublet_hub.gateway.amounts import Payer, Use, Uses, add_use

SUFFIX = ".journal"
FULL_BYTES = 4 * 2**20
"""A file of this length takes no more holds."""

JournalError = OSError


@dataclass
class Kept:
    """One hold, as a journal tells of it."""

    payer: Payer
    number: int = 0
    """Of the last post that was begun."""
    sent: Uses | None = None
    """What that post holds, where it is not known to be booked."""
    open: Uses = field(default_factory=dict)
    """Calls in no post."""


class Journal:
    """One file. Lines are there when a method returns, whatever becomes of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._open_holds: set[str] = set()
        self._size = os.fstat(descriptor).st_size

    @property
    def is_full(self) -> bool:
        return self._size >= FULL_BYTES

    @property
    def is_settled(self) -> bool:
        """Whether nothing in it matters any more."""
        return not self._open_holds

    def opened(self, hold: str, payer: Payer) -> None:
        self._open_holds.add(hold)
        self._write({"open": hold, "user": payer.user, "account": payer.account})

    def called(self, hold: str, model: str, use: Use) -> None:
        self._write({"call": hold, "model": model, "in": use.input_tokens, "out": use.output_tokens})

    def posting(self, hold: str, number: int) -> None:
        self._write({"post": hold, "number": number})

    def posted(self, hold: str, number: int) -> None:
        self._write({"done": hold, "number": number})

    def closed(self, hold: str) -> None:
        self._write({"close": hold})
        self._open_holds.discard(hold)

    def sync(self) -> None:
        """Have it survive a power cut too. Waits for the disk."""
        os.fdatasync(self._descriptor)

    def read(self) -> dict[str, Kept]:
        """The holds that are not closed. A last line that a crash cut short never happened."""
        holds: dict[str, Kept] = {}
        for line in _lines(self.path):
            _replay(holds, line)
        self._open_holds = set(holds)
        return holds

    def discard(self) -> None:
        """Take the file away, once it is settled or to give it up."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, said: dict[str, object]) -> None:
        line = json.dumps(said, separators=(",", ":")).encode() + b"\n"
        self._size += len(line)
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def begin(folder: Path) -> Journal:
    """A new, empty journal, held by us from before anybody can see it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{os.getpid()}-{secrets.token_hex(6)}"
    unseen, path = folder / f".{name}", folder / f"{name}{SUFFIX}"
    descriptor = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unseen.rename(path)
    return Journal(path, descriptor)


def left_behind(folder: Path) -> Iterator[Journal]:
    """The journals that no living gateway holds; from now on we do."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another gateway has just settled it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        if not path.exists():  # settled between our open and our lock
            os.close(descriptor)
            continue
        _end_last_line(descriptor)
        yield Journal(path, descriptor)


def _end_last_line(descriptor: int) -> None:
    """A line that a crash cut short must not run into the next one."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict):
                yield said


def _replay(holds: dict[str, Kept], line: dict[str, Any]) -> None:
    match line:
        case {"open": str(hold), "user": str(user), "account": str(account)}:
            holds[hold] = Kept(Payer(user, account))
        case {"call": str(hold), "model": str(model), "in": int(given), "out": int(made)} if hold in holds:
            add_use(holds[hold].open, model, Use(1, given, made))
        case {"post": str(hold), "number": int(number)} if hold in holds:
            kept = holds[hold]
            kept.number, kept.sent, kept.open = number, kept.open, {}
        case {"done": str(hold), "number": int(number)} if hold in holds and holds[hold].number == number:
            holds[hold].sent = None
        case {"close": str(hold)}:
            holds.pop(hold, None)
        case _:
            return
