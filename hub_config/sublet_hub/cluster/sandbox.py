"""The parent's side of a lease's confinement: fork the server's first process, and end all of them.

Where namespaces are to be had, the kernel ends every process of a server with its first one, and user code
can neither see nor signal the parent. Where not, the parent does what a process without privileges can.
"""

import errno
import os
import signal
import sys
from typing import Literal, NamedTuple, NoReturn, Protocol

from sublet_hub.cluster import linux, mounts, processes
from sublet_hub.cluster.confinement import Command, Confinement, Level
from sublet_hub.cluster.inside import exit_code_of, run_child

Policy = Literal["auto", "require", "none"]
"""`auto`: as strong as the system allows. `require`: namespaces, or no server. `none`: no namespaces."""

_NAMESPACES = {
    Level.ROOT: linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWIPC,
    Level.USER: linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWIPC,
}
_FORBIDDEN_HERE = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.ENOSPC, errno.EUSERS, errno.ENODEV}
)
"""What the kernel answers where namespaces or mounts are switched off; anything else is a fault."""


class ConfinementError(Exception):
    """The server can't be confined as asked. The message says what failed."""


class LevelUnavailableError(ConfinementError):
    """This system does not allow this level to this user."""


class Processes(Protocol):
    """All processes of one server, from the parent's side."""

    def terminate(self) -> None:
        """Ask the server to end: SIGTERM to it alone. It ends its kernels in its own time; all else ends with it."""

    def kill(self) -> None:
        """End each: SIGKILL."""

    def poll(self) -> int | None:
        """The server's exit code once the last of its processes is gone; None before."""


class Namespaced:
    """A server in a PID namespace, through the namespace's first process."""

    def __init__(self, first: int) -> None:
        self._first = first

    def terminate(self) -> None:
        os.kill(self._first, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self._first, signal.SIGKILL)

    def poll(self) -> int | None:
        # The kernel reports the first process only after it has ended and reaped all others.
        pid, status = os.waitpid(self._first, os.WNOHANG)
        return None if pid == 0 else exit_code_of(status)


class Adopted:
    """A server without a namespace; its orphans come to this process, their subreaper."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._exit_code: int | None = None

    def terminate(self) -> None:
        if self._exit_code is None:  # else its number may be another's already
            os.kill(self._server, signal.SIGTERM)

    def kill(self) -> None:
        processes.signal_all(processes.descendants(os.getpid()), signal.SIGKILL)

    def poll(self) -> int | None:
        try:
            while (reaped := os.waitpid(-1, os.WNOHANG))[0] != 0:
                if reaped[0] == self._server:
                    self._exit_code = exit_code_of(reaped[1])
        except ChildProcessError:  # none left, daemons and all
            return self._exit_code
        if self._exit_code is not None:
            self.kill()
        return None


class Waiting(NamedTuple):
    """A confined child that has not started the server yet."""

    level: Level
    pid: int
    starter: int
    """The pipe it waits on."""

    def go(self) -> Processes:
        """Start the server."""
        os.write(self.starter, b"g")
        os.close(self.starter)
        return Adopted(self.pid) if self.level is Level.NONE else Namespaced(self.pid)

    def abandon(self) -> None:
        """End the child instead. No server was started."""
        os.close(self.starter)
        os.waitpid(self.pid, 0)


def candidates(policy: Policy) -> tuple[Level, ...]:
    """The levels to try, strongest first."""
    strongest = Level.ROOT if os.geteuid() == 0 else Level.USER
    return {"auto": (strongest, Level.NONE), "require": (strongest,), "none": (Level.NONE,)}[policy]


def confine(level: Level, confinement: Confinement, command: Command) -> Waiting:
    """Fork a child and confine it. Signals the caller blocks stay blocked in it until the server starts.

    Raises `LevelUnavailableError` where the system doesn't allow the level, else `ConfinementError`.
    """
    if os.geteuid() == 0 and not confinement.uid:
        raise ConfinementError("a server is never run as root: give it a user id")
    if level is Level.NONE:
        _check_reachable(confinement)
    report, report_end = os.pipe()
    go_end, go = os.pipe()
    parent = os.getpid()
    try:
        child = os.fork() if level is Level.NONE else linux.fork_into(_NAMESPACES[level])
    except OSError as error:
        for fd in (report, report_end, go_end, go):
            os.close(fd)
        raise _as_refusal(level, error.errno, str(error)) from error
    if child == 0:
        os.close(report)
        os.close(go)
        _never_return(level, confinement, command, report=report_end, go=go_end, parent=parent)
    os.close(report_end)
    os.close(go_end)
    waiting = Waiting(level, child, go)
    answer = _release(waiting, report)
    if answer != "ok":
        waiting.abandon()
        number, _, text = answer.partition(" ")
        raise _as_refusal(level, int(number) if number.isdecimal() else None, text or "the child ended")
    if level is Level.NONE:
        linux.adopt_orphans()
    return waiting


def _check_reachable(confinement: Confinement) -> None:
    """Say at once what would fail obscurely: without a mount namespace, a folder closed to a user stays so."""
    if confinement.uid is None or os.geteuid() != 0:
        return
    home = () if confinement.home is None else (confinement.home,)
    needed = mounts.resolved([*confinement.read_only, *home])
    gid = confinement.uid if confinement.gid is None else confinement.gid
    closed = mounts.closed_ancestors(needed, confinement.uid, gid)
    if closed:
        raise ConfinementError(
            f"the server needs {', '.join(map(str, needed))}, but users may not pass {', '.join(map(str, closed))}. "
            "Without namespaces that can't be helped: move these, or let others pass (chmod o+x)"
        )


def _never_return(
    level: Level, confinement: Confinement, command: Command, *, report: int, go: int, parent: int
) -> NoReturn:
    """Run the child's side; whatever goes wrong in it, this fork must not run on as a second parent."""
    try:
        run_child(level, confinement, command, report=report, go=go, parent=parent)
    finally:
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        os._exit(1)


def _release(waiting: Waiting, report: int) -> str:
    """Give the child its user ids, let it build its view, and hear how that went."""
    try:
        if waiting.level is Level.USER:
            _map_own_ids(waiting.pid)
        os.write(waiting.starter, b"m")
        with os.fdopen(report, encoding="utf-8", errors="replace") as answer:
            return answer.read()
    except OSError as error:
        return f"{error.errno} {error}"


def _map_own_ids(child: int) -> None:
    """Let the child keep the platform's user and group id in its user namespace: user_namespaces(7)."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{os.geteuid()} {os.geteuid()} 1"),
        ("gid_map", f"{os.getegid()} {os.getegid()} 1"),
    ):
        with open(f"/proc/{child}/{name}", "w", encoding="utf-8") as file:  # noqa: PTH123 - a kernel interface
            file.write(text)


def _as_refusal(level: Level, number: int | None, text: str) -> ConfinementError:
    if level is not Level.NONE and number in _FORBIDDEN_HERE:
        return LevelUnavailableError(text)
    return ConfinementError(text)
