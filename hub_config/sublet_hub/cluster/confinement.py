"""What a server is to run as, and what it may see."""

import os
import pwd
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from sublet_hub.cluster import mounts

_RUN_KEPT = (
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
    "/run/nvidia-persistenced",
)
"""What a server needs of /run: how names are resolved, and the GPU driver's socket."""


class Level(StrEnum):
    """How far a server is kept apart from the platform, strongest first."""

    ROOT = "root"
    """Its own process, mount and IPC namespaces, and a user id of its own."""
    USER = "user"
    """The same namespaces inside a user namespace, under the platform's user id."""
    NONE = "none"
    """A process group only."""


class Confinement(NamedTuple):
    """How one server is confined."""

    scratch: Path
    """Its private /tmp, an empty folder it may write to."""
    uid: int | None = None
    """The user id to run under; None keeps the platform's, which is refused for root."""
    gid: int | None = None
    home: Path | None = None
    """Where it starts and may write. None starts it in /."""
    passwd: Path | None = None
    """What it sees as /etc/passwd, so that its user id has a name."""
    hidden: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()
    """Folders it needs: shown read-only, also where they lie in something hidden."""
    writable: tuple[Path, ...] = ()
    offered: tuple[Path, ...] = ()
    """Folders shown read-only like those it needs; it starts without them where nothing can be shown."""


class Command(NamedTuple):
    """What to run, and where to say why it could not be."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    log_fd: int


def view_for(level: Level, confinement: Confinement) -> mounts.View:
    """Work out what a server at this level sees."""
    covered = mounts.resolved(confinement.hidden)
    read_only = mounts.resolved([*confinement.read_only, *confinement.offered])
    home = () if confinement.home is None else (confinement.home,)
    writable = mounts.resolved([*home, *confinement.writable])
    if level is Level.USER:
        # Same user id as the platform: its owner's home and the sockets in /run are the ways out.
        covered += mounts.resolved([pwd.getpwuid(os.getuid()).pw_dir, "/run"])
        read_only += mounts.resolved(_RUN_KEPT)
    elif confinement.uid is not None:
        gid = confinement.uid if confinement.gid is None else confinement.gid
        covered += mounts.closed_ancestors([*read_only, *writable], confinement.uid, gid)
    return mounts.View(
        covered=tuple(path for path in covered if path != Path("/")),
        read_only=read_only,
        writable=writable,
        scratch=confinement.scratch,
        passwd=confinement.passwd,
        lock_root=level is Level.USER,
    )
