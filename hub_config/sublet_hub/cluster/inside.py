"""The child's side of a lease: what becomes the first process of its namespaces, and then the server.

Nothing here returns to the caller: a forked child must never run on as a second parent.
"""

import os
import signal
from pathlib import Path
from typing import NoReturn

from sublet_hub.cluster import linux, mounts
from sublet_hub.cluster.confinement import Command, Confinement, Level, view_for

EXIT_REFUSED = 125
"""The server was not started, for a reason that isn't its own. 126 and 127 mean what they do in a shell."""
_NOT_RUNNABLE = 126
_NOT_FOUND = 127
OUTPUT = Path(".sublet-server.log")
"""In the user's home: what their servers print. It begins anew at a start when it has become large."""
_OUTPUT_BYTES = 1024 * 1024
_WATCHED = frozenset({signal.SIGCHLD, signal.SIGTERM})


def exit_code_of(status: int) -> int:
    """Turn a wait status into an exit code as a shell reports it."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def wait_for_go(go: int) -> None:
    """Wait for the parent's next byte; end this process if the parent is gone."""
    if os.read(go, 1) == b"":
        os._exit(EXIT_REFUSED)


def run_child(
    level: Level, confinement: Confinement, command: Command, *, report: int, go: int, parent: int
) -> NoReturn:
    """Confine this process, report `ok` (or the error's number and text), and start the server when told to.

    `report` and `go` are pipes, `parent` the pid of the parent in its own namespace. The parent's death ends
    this process: by signal from here on, by the closed pipe if it died before.
    """
    try:
        linux.die_with_parent(signal.SIGKILL)
        wait_for_go(go)
        if level is not Level.NONE:
            mounts.build(view_for(level, confinement))
        os.write(report, b"ok")
        os.close(report)
        wait_for_go(go)
    except OSError as error:
        os.write(report, f"{error.errno} {error}".encode())
        os._exit(EXIT_REFUSED)
    if level is Level.NONE:
        _run_server(confinement, command, parent=parent)
    _run_init(confinement, command)


def _run_init(confinement: Confinement, command: Command) -> NoReturn:
    """Be the first process of the namespace: its end is the end of every process in it, says the kernel."""
    linux.forbid_inspection()
    server = os.fork()
    if server == 0:
        _run_server(confinement, command, parent=None)
    _let_go_of_files()
    while True:
        if signal.sigwait(_WATCHED) == signal.SIGTERM:
            os.kill(server, signal.SIGTERM)  # it ends its kernels, in its own time; all else ends with this process
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(EXIT_REFUSED)
            if pid == 0:
                break
            if pid == server:
                os._exit(exit_code_of(status))


def _let_go_of_files() -> None:
    empty = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(empty, standard)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _run_server(confinement: Confinement, command: Command, parent: int | None) -> NoReturn:
    """Take on the user's identity and become the server."""
    try:
        os.setsid()
        _become_user(confinement)
        if parent is not None:
            linux.die_with_parent(signal.SIGKILL)  # once more: the change of identity has cleared it
            if os.getppid() != parent:
                os._exit(EXIT_REFUSED)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(confinement.home or "/")
        output = _open_output(confinement)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, command.log_fd)
        os.closerange(command.log_fd + 1, os.sysconf("SC_OPEN_MAX"))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored_by_python, signal.SIG_DFL)
        os.execvpe(command.argv[0], command.argv, command.environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(command.log_fd, f"sublet: the server can't be started: {error}\n".encode())
        os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUNNABLE)


def _open_output(confinement: Confinement) -> int:
    """Open what the server prints to: a file of its user's, since it may hold what the user works on.

    Called as the user, so that a link laid there leads nowhere that the user could not write anyway.
    """
    if confinement.home is None:
        return os.open(os.devnull, os.O_WRONLY)
    try:
        if OUTPUT.lstat().st_size > _OUTPUT_BYTES:
            OUTPUT.replace(f"{OUTPUT}.1")
    except FileNotFoundError:
        pass  # the first server of this user
    try:
        return os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError:
        # The user has put something else there, or has no room: their server is worth more than its log.
        return os.open(os.devnull, os.O_WRONLY)


def _become_user(confinement: Confinement) -> None:
    linux.drop_bounding_capabilities()
    if confinement.uid is not None and os.geteuid() == 0:
        gid = confinement.uid if confinement.gid is None else confinement.gid
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(confinement.uid, confinement.uid, confinement.uid)
    linux.give_up_privileges()
