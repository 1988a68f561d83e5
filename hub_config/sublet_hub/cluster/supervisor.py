"""The supervising parent of one server: `python -I -m sublet_hub.cluster.supervisor … -- argv…`.

It starts the server, keeps the durable record of its true start and end, and ends it at its deadline, though
all of the platform be dead. It reads one file the platform may write (the deadline), answers two signals
(SIGTERM and SIGINT: end the server gracefully), and needs nothing else. It is light: one runs per lease.

Exit code: the server's own as a shell reports it, or 125 if the server was not started.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from sublet_hub.cluster import linux, processes, records, sandbox
from sublet_hub.cluster.confinement import Command, Confinement
from sublet_hub.cluster.course import Course
from sublet_hub.cluster.inside import EXIT_REFUSED
from sublet_hub.cluster.server_log import ServerLog

_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_WATCHED = _STOP | {signal.SIGCHLD}
_BLOCKED = _WATCHED | {signal.SIGHUP, signal.SIGQUIT}
_PRIORITY = -10
_OOM_SCORE_ADJUSTMENT = "-900"


class RefusedError(Exception):
    """The server is not started; the message says why."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(prog="sublet_hub.cluster.supervisor", description=__doc__)
    made.add_argument("--lease-dir", type=Path, required=True)
    made.add_argument("--deadline-ms", type=int, required=True, help="until the deadline file says otherwise")
    made.add_argument("--uid", type=int, help="user id to run the server under; needed when run by root")
    made.add_argument("--gid", type=int, help="default: the same number as the user id")
    made.add_argument("--user", help="name the server's user id is known by inside")
    made.add_argument("--home", type=Path, help="where the server starts, and may write")
    made.add_argument("--hide", type=Path, action="append", default=[], help="shown empty; a device: barred")
    made.add_argument("--read-only", type=Path, action="append", default=[], help="shown, also if in a hidden one")
    made.add_argument("--offered", type=Path, action="append", default=[], help="the same, where it can be done")
    made.add_argument("--writable", type=Path, action="append", default=[])
    made.add_argument("--sandbox", choices=get_args(sandbox.Policy), default="auto")
    made.add_argument("--term-grace", type=float, default=0.7, help="seconds from SIGTERM to SIGKILL")
    made.add_argument("--stop-grace", type=float, default=5.0, help="the same, when asked to stop early")
    made.add_argument("--owner", type=int, help="pid of a process without which the server is ended")
    made.add_argument("--owner-ticks", type=int, default=0, help="when that process started")
    made.add_argument("argv", nargs="+")
    return made


def main(argv: Sequence[str]) -> int:
    """Run one server to its end."""
    options = parser().parse_args(argv)
    os.umask(0o022)  # the platform's own would close the folders that are made for the server's view to the server
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    if os.getsid(0) != os.getpid() and os.getpgid(0) != os.getpid():
        os.setsid()
    try:
        pen = records.RecordWriter(options.lease_dir)
        log = ServerLog(options.lease_dir)
    except OSError as error:
        return _refuse(f"the lease's record can't be begun: {error}")
    try:
        return _Supervisor(options, pen, log).run()
    except RefusedError as error:
        log.say(str(error))
        return _refuse(str(error))


def _refuse(text: str) -> int:
    try:
        os.write(2, f"sublet: the server is not started: {text}\n".encode())
    except OSError:  # nobody listens, or no room; the exit code says it too
        return EXIT_REFUSED
    return EXIT_REFUSED


class _Supervisor:
    def __init__(self, options: argparse.Namespace, pen: records.RecordWriter, log: ServerLog) -> None:
        self._options = options
        self._pen = pen
        self._log = log
        self._last_said = ""
        self._is_orphaned = False
        self._course = Course(
            deadline_ms=options.deadline_ms,
            term_grace_ms=round(options.term_grace * 1000),
            stop_grace_ms=round(options.stop_grace * 1000),
        )

    def run(self) -> int:
        self._reread_deadline()
        if self._course.deadline_ms <= records.wall_ms():
            raise RefusedError("its deadline has passed")
        waiting = self._confine()
        try:
            started = _started(waiting)
            self._pen.alive(started.at_ms)
            self._pen.write(started)
        except OSError as error:
            waiting.abandon()
            raise RefusedError(f"its start can't be recorded: {error}") from error
        server = waiting.go()
        _be_hard_to_starve()
        linux.forbid_inspection()
        self._let_go_of_terminal()
        exit_code = self._watch(server, started)
        ended_at = started.at_ms + records.boottime_ms() - started.boottime_ms
        try:
            self._pen.alive(ended_at)
            cause = None if self._is_orphaned else self._course.cause
            self._pen.write(records.Ended(ended_at, cause or "exited", exit_code))
        except OSError as error:
            # The platform then dates the end to the last moment the server was noted as alive: just now.
            self._log.say(f"the end can't be recorded: {error}")
        self._pen.discard_scratch()
        return exit_code

    def _confine(self) -> sandbox.Waiting:
        options = self._options
        if options.home is not None and not options.home.is_dir():
            raise RefusedError(f"its home {options.home} is no folder")
        command = Command(tuple(options.argv), self._environment(), self._log.fd)
        for level in sandbox.candidates(options.sandbox):
            try:
                return sandbox.confine(level, self._confinement(), command)
            except sandbox.LevelUnavailableError as error:
                self._log.say(f"sandbox level {level} is not to be had here: {error}")
            except (sandbox.ConfinementError, OSError) as error:
                raise RefusedError(f"it can't be confined: {error}") from error
        raise RefusedError("no sandbox is to be had here, and one is required")

    def _confinement(self) -> Confinement:
        options = self._options
        folder: Path = options.lease_dir
        gid = options.uid if options.gid is None else options.gid
        scratch = folder / records.SCRATCH
        scratch.mkdir(mode=0o700, exist_ok=True)
        if options.uid is not None and os.geteuid() == 0:
            os.chown(scratch, options.uid, gid)
        return Confinement(
            scratch=scratch,
            uid=options.uid,
            gid=gid,
            home=options.home,
            passwd=self._passwd(gid),
            hidden=(folder, *options.hide),
            read_only=tuple(options.read_only),
            writable=tuple(options.writable),
            offered=tuple(options.offered),
        )

    def _passwd(self, gid: int | None) -> Path | None:
        """Give a user id that the system has no name for its name."""
        options = self._options
        known = Path("/etc/passwd").read_text(encoding="utf-8")
        if options.user is None or options.uid is None or f":x:{options.uid}:" in known:
            return None
        shown: Path = options.lease_dir / records.PASSWD
        line = f"{options.user}:x:{options.uid}:{gid}::{options.home or '/'}:/bin/bash\n"
        shown.write_text(known + line, encoding="utf-8")
        shown.chmod(0o644)
        return shown

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self._options.home is not None:
            environment["HOME"] = str(self._options.home)
        return environment

    def _let_go_of_terminal(self) -> None:
        """Depend on nothing of whoever started this process; what it has to say goes to the log."""
        os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
        os.dup2(self._log.fd, 1)
        os.dup2(self._log.fd, 2)
        os.chdir("/")

    def _watch(self, server: sandbox.Processes, started: records.Started) -> int:
        """See the server to its end, and return its exit code once its last process is gone."""
        course = self._course
        while True:
            wait_ms = course.wait_ms(records.wall_ms(), records.boottime_ms())
            caught = signal.sigtimedwait(_WATCHED, wait_ms / 1000)
            exit_code = server.poll()
            if exit_code is not None:
                return exit_code
            steady_ms = records.boottime_ms()
            self._pen.alive(started.at_ms + steady_ms - started.boottime_ms)
            self._reread_deadline()
            self._log.keep_small()
            stop_asked = caught is not None and caught.si_signo in _STOP
            if course.cause is None and not stop_asked and self._owner_is_gone():
                self._log.say("who started the server is gone, so it is ended")
                self._is_orphaned = stop_asked = True
            action = course.heed(records.wall_ms(), steady_ms, stop_asked=stop_asked)
            if action == "terminate":
                server.terminate()
            elif action == "kill":
                server.kill()

    def _reread_deadline(self) -> None:
        """Take over a moved deadline; keep the last good one when the file is missing or makes no sense."""
        try:
            moved = self._pen.rearmed()
        except (records.RecordError, OSError) as error:
            self._say_once(f"the deadline file can't be read, and the last one holds: {error}")
            return
        if moved is not None:
            self._course.deadline_ms = moved

    def _owner_is_gone(self) -> bool:
        """Nobody asked for that end: it is recorded as the server's own."""
        options = self._options
        return options.owner is not None and not processes.is_alive(options.owner, options.owner_ticks)

    def _say_once(self, text: str) -> None:
        if text != self._last_said:
            self._log.say(text)
        self._last_said = text


def _be_hard_to_starve() -> None:
    """Come before what users run when the processor or the memory is short, where the system allows it."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJUSTMENT, encoding="utf-8")
    except OSError:  # without privileges: the system's own fairness must do
        return


def _started(waiting: sandbox.Waiting) -> records.Started:
    child_ticks, parent_ticks = processes.start_ticks(waiting.pid), processes.start_ticks(os.getpid())
    if child_ticks is None or parent_ticks is None:
        raise OSError("the confined child is gone")
    return records.Started(
        at_ms=records.wall_ms(),
        boottime_ms=records.boottime_ms(),
        boot_id=processes.boot_id(),
        child_pid=waiting.pid,
        child_ticks=child_ticks,
        parent_pid=os.getpid(),
        parent_ticks=parent_ticks,
        sandbox=waiting.level.value,
    )


if __name__ == "__main__":
    # Without taking the interpreter apart: where many leases end at one moment, that would delay the others' end.
    os._exit(main(sys.argv[1:]))
