"""What confinement this system allows the platform, found out by trying: for `sublet doctor` and the hub.

The trial runs in a process of its own (`python -I -m sublet_hub.cluster.probe`), since forking into namespaces
wants a process with one thread.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sublet_hub.cluster import sandbox
from sublet_hub.cluster.confinement import Command, Confinement, Level

_TIMEOUT_SECONDS = 20
_TRIAL_UID = 65534

_MEANING = {
    Level.ROOT: (
        (
            "Each user's servers run under a user id of their own, in their own process and mount namespaces: they "
            "can neither see, signal nor read the platform, and the end of a lease ends every process in it."
        ),
    ),
    Level.USER: (
        (
            "Servers run in their own user, process and mount namespaces: they can neither see, signal nor read the "
            "platform, and the end of a lease ends every process in it."
        ),
        (
            "To the kernel they still are the account that runs Sublet, so anything that trusts this account "
            "through the network (a service on localhost, an abstract socket) is open to them. Run Sublet as root "
            "to give each user an id of their own."
        ),
    ),
    Level.NONE: (
        "Servers run beside the platform, without namespaces.",
        (
            "Deadlines still end them, and the processes they start. If their supervising parent is killed, the "
            "server ends with it, but a process that it has sent into the background may live on."
        ),
    ),
}
_NONE_AS_ROOT = (
    (
        "Each user's servers run under a user id of their own, so they can't signal the platform nor read its "
        "files; they can see which processes run."
    ),
)
_NONE_AS_USER = (
    (
        "They run under the same account as the platform, so user code can end or stop its supervising parent, move "
        "its own deadline, and read the platform's secrets and other users' files. Use this only among people who "
        "trust each other."
    ),
    "Run Sublet as root, or allow unprivileged user namespaces, to change that.",
)


@dataclass(frozen=True)
class SandboxReport:
    """The strongest level to be had here."""

    level: Level
    meaning: tuple[str, ...]
    """What that means, a plain sentence each."""
    missing: str | None
    """Why it is not a stronger one; None if it is the strongest for this user."""

    @property
    def contained(self) -> bool:
        """Whether user code can't reach the platform, so that `--sandbox require` will start servers."""
        return self.level is not Level.NONE


def probe() -> SandboxReport:
    """Try to confine a process as a server would be. Takes about a tenth of a second.

    A trial that fails in a way of its own counts as "none": a doubt is never reported as safety.
    """
    command = [sys.executable, "-I", "-m", "sublet_hub.cluster.probe"]
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True)
        missing = json.loads(trial.stdout)["missing"]
    except subprocess.CalledProcessError as error:
        missing = f"the trial failed: {error.stderr.strip() or error}"
    except (subprocess.TimeoutExpired, ValueError, KeyError, OSError) as error:
        missing = f"the trial failed: {error}"
    if missing is None:
        level = sandbox.candidates("require")[0]
        return SandboxReport(level, _MEANING[level], None)
    added = _NONE_AS_ROOT if os.geteuid() == 0 else _NONE_AS_USER
    return SandboxReport(Level.NONE, _MEANING[Level.NONE] + added, str(missing))


def _try(level: Level, scratch: Path) -> str | None:
    """Confine a process that exits with 0, as a server would be; say what went wrong."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    uid = _TRIAL_UID if os.geteuid() == 0 else None
    confinement = Confinement(scratch=scratch, uid=uid, gid=uid, hidden=(scratch,))
    command = Command(("true",), dict(os.environ), log_fd=2)
    try:
        processes = sandbox.confine(level, confinement, command).go()
    except sandbox.ConfinementError as error:
        return str(error)
    while (exit_code := processes.poll()) is None:
        signal.sigwait({signal.SIGCHLD})
    return None if exit_code == 0 else f"a process in it ended with {exit_code}"


def _trial() -> None:
    (level,) = sandbox.candidates("require")
    with tempfile.TemporaryDirectory() as scratch:
        sys.stdout.write(json.dumps({"missing": _try(level, Path(scratch))}))


if __name__ == "__main__":
    _trial()
