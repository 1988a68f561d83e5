"""The lease folder: what the supervising parent leaves for the platform, and the platform for it.

    record.jsonl   written by the parent, one fsynced line when the server starts and one when it has ended
    alive          written by the parent: when it last saw the server alive, 20 characters, never fsynced
    deadline       written by the platform, replaced atomically; read again by the parent all the time
    server.log     what the parent has to say; the server's own output is its user's, and lies in their home

All times are wall-clock milliseconds since the epoch. The parent measures how long a server ran by
CLOCK_BOOTTIME, so that a step of the wall clock changes no bill: an end is the start plus that span.

After the machine itself goes down hard, `alive` is as old as the kernel's write-back (about 30 seconds).
"""

import json
import os
import time
from pathlib import Path
from typing import Literal, NamedTuple

RECORD = "record.jsonl"
ALIVE = "alive"
DEADLINE = "deadline"
LOG = "server.log"
SCRATCH = "tmp"
PASSWD = "passwd"  # noqa: S105 - a file's name
_ALIVE_WIDTH = 20


class RecordError(ValueError):
    """A file of the lease folder holds something else than it should. The message says what."""


class Started(NamedTuple):
    """The server was started, by this parent, on this run of the kernel."""

    at_ms: int
    boottime_ms: int
    boot_id: str
    child_pid: int
    child_ticks: int
    parent_pid: int
    parent_ticks: int
    sandbox: str


class Ended(NamedTuple):
    """The last process of the server was gone."""

    at_ms: int
    cause: Literal["exited", "deadline", "stop"]
    exit_code: int


class Record(NamedTuple):
    """What a lease's record says so far."""

    started: Started | None = None
    ended: Ended | None = None


def wall_ms() -> int:
    """What the calendar says."""
    return time.time_ns() // 1_000_000


def boottime_ms() -> int:
    """Milliseconds since boot; it never steps, and goes on while the machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _whole(fields: dict[str, object], key: str) -> int:
    value = fields.get(key)
    if type(value) is not int:
        raise RecordError(f"{key!r} is {value!r}, not a whole number")
    return value


def _text(fields: dict[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise RecordError(f"{key!r} is {value!r}, not text")
    return value


def _object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RecordError(f"{text[:80]!r} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise RecordError(f"{text[:80]!r} is no JSON object")
    return value


def _started(fields: dict[str, object]) -> Started:
    numbers = ("at_ms", "boottime_ms", "child_pid", "child_ticks", "parent_pid", "parent_ticks")
    return Started(
        boot_id=_text(fields, "boot_id"),
        sandbox=_text(fields, "sandbox"),
        **{key: _whole(fields, key) for key in numbers},
    )


def _ended(fields: dict[str, object]) -> Ended:
    cause = fields.get("cause")
    if cause not in {"exited", "deadline", "stop"}:
        raise RecordError(f"'cause' is {cause!r}")
    return Ended(_whole(fields, "at_ms"), cause, _whole(fields, "exit_code"))


def parse_record(text: str) -> Record:
    """Read a record. A last line without its newline was being written when the parent died: it says nothing.

    Raises `RecordError` for anything else that can't be understood.
    """
    started, ended = None, None
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        fields = _object(line)
        if fields.get("event") == "started" and started is None:
            started = _started(fields)
        elif fields.get("event") == "ended" and started is not None and ended is None:
            ended = _ended(fields)
        else:
            raise RecordError(f"a line says {fields.get('event')!r} out of turn")
    return Record(started, ended)


def read_record(folder: Path) -> Record:
    """Read a lease's record; an empty one if there is none yet."""
    try:
        return parse_record((folder / RECORD).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return Record()


def read_alive(folder: Path) -> int | None:
    """When the parent last saw the server alive; None if it never wrote that, or what it wrote is lost."""
    try:
        text = (folder / ALIVE).read_bytes()
    except FileNotFoundError:
        return None
    return int(text) if len(text) == _ALIVE_WIDTH and text.strip().isdigit() else None


def parse_deadline(text: str) -> int:
    """Read a deadline in wall-clock milliseconds. Raises `RecordError`."""
    deadline = _whole(_object(text), "deadline_at_ms")
    if deadline < 0:
        raise RecordError(f"the deadline {deadline} lies before the epoch")
    return deadline


def read_deadline(folder: Path) -> int | None:
    """Read the armed deadline; None if there is none that can be understood."""
    try:
        return parse_deadline((folder / DEADLINE).read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, RecordError):
        return None


def write_deadline(folder: Path, deadline_ms: int, reason: str) -> None:
    """Arm a deadline: atomic, and durable on return. Raises `FileNotFoundError` without the folder."""
    fresh = folder / f".{DEADLINE}.{os.getpid()}.{time.monotonic_ns()}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump({"deadline_at_ms": deadline_ms, "reason": reason}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / DEADLINE)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make new and renamed names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class RecordWriter:
    """The parent's pen. The folder is held open, so that it may be moved meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Raise `FileExistsError` if the lease was started before: a record is for one run."""
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._record = os.open(RECORD, new, 0o600, dir_fd=self._folder)
        self._alive = os.open(ALIVE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        self._seen: tuple[int, int] | None = None

    def write(self, event: Started | Ended) -> None:
        """Append an event, durable on return."""
        fields = {"event": type(event).__name__.lower(), **event._asdict()}
        line = (json.dumps(fields) + "\n").encode()
        if os.write(self._record, line) != len(line):
            raise OSError("the record could be written in part only: is the disk full?")
        os.fsync(self._record)
        os.fsync(self._folder)

    def alive(self, at_ms: int) -> None:
        """Note when the server was seen alive."""
        os.pwrite(self._alive, f"{at_ms:{_ALIVE_WIDTH}d}".encode(), 0)

    def discard_scratch(self) -> None:
        """Remove the server's private /tmp. It may hold much, so another process does that."""
        try:
            os.rmdir(SCRATCH, dir_fd=self._folder)
        except FileNotFoundError:
            return
        except OSError:
            if os.fork() == 0:
                import shutil  # not at the start: it costs milliseconds there, and is rarely wanted

                os.setsid()
                shutil.rmtree(SCRATCH, ignore_errors=True, dir_fd=self._folder)
                os._exit(0)

    def rearmed(self) -> int | None:
        """Read the deadline if the platform has moved it since the last call. Raises `RecordError`."""
        try:
            status = os.stat(DEADLINE, dir_fd=self._folder)
            stamp = (status.st_ino, status.st_mtime_ns)
            if stamp == self._seen:
                return None
            fd = os.open(DEADLINE, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
            text = file.read()
        self._seen = stamp  # only now: what could not be read is tried again
        return parse_deadline(text)
