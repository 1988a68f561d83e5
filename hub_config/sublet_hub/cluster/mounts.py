"""What a server sees of the file system: built in the mount namespace of its lease.

A *cover* puts something empty over a path; a *keep* shows a path as it was, read-only or writable, also where
it lies under a cover. Both are applied from the root downwards, so that the deeper one wins: the data folder
may be covered, the user's home in it kept, and a folder in that home covered again.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sublet_hub.cluster import linux

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - it is covered, not written to
_PLAIN = linux.MS_NOSUID | linux.MS_NODEV


class View(NamedTuple):
    """What to show. Paths are absolute and without symbolic links (`resolved`)."""

    covered: tuple[Path, ...]
    """Folders shown empty and read-only, files shown empty, devices that can't be opened."""
    read_only: tuple[Path, ...]
    writable: tuple[Path, ...]
    scratch: Path
    """An empty folder that the server sees as /tmp and /var/tmp."""
    passwd: Path | None
    """What the server sees as /etc/passwd; None leaves it as it is."""
    lock_root: bool
    """Whether all that isn't kept writable is made read-only: for a server that runs under the platform's own
    user id, from which file permissions protect nothing."""


class _Keep:
    """A path held open before anything is covered, to be shown again afterwards."""

    def __init__(self, source: Path, target: Path, *, writable: bool) -> None:
        self.target = target
        self.writable = writable
        self.is_folder = source.is_dir()
        self.fd = os.open(source, os.O_PATH | os.O_CLOEXEC)

    def show(self) -> None:
        if not self.target.exists():
            self.target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.target.mkdir(mode=0o755) if self.is_folder else self.target.touch(mode=0o444)
        linux.mount(f"/proc/self/fd/{self.fd}", str(self.target), flags=linux.MS_BIND | linux.MS_REC)
        if self.writable:
            linux.set_mount(str(self.target), off=linux.MOUNT_ATTR_RDONLY, on=linux.MOUNT_ATTR_NOSUID)
        else:
            linux.set_mount(str(self.target), on=linux.MOUNT_ATTR_RDONLY, recursive=True)
        os.close(self.fd)


def resolved(paths: Iterable[str | Path]) -> tuple[Path, ...]:
    """Follow symbolic links, drop what doesn't exist and what is said twice."""
    return tuple(dict.fromkeys(Path(path).resolve() for path in paths if Path(path).exists()))


def closed_ancestors(paths: Iterable[Path], uid: int, gid: int) -> tuple[Path, ...]:
    """The folders above these paths that this user may not pass, such as /root.

    Covering such a folder takes nothing from the user, and makes what is kept inside reachable.
    """
    closed: dict[Path, None] = {}
    for path in paths:
        for folder in path.parents:
            info = folder.stat()
            needed = stat.S_IXUSR if info.st_uid == uid else stat.S_IXGRP if info.st_gid == gid else stat.S_IXOTH
            if not info.st_mode & needed:
                closed[folder] = None
    return tuple(closed)


def build(view: View) -> None:
    """Give this process's own, new mount namespace that view. Raises `OSError` where that is forbidden."""
    os.chdir("/")
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc", flags=_PLAIN | linux.MS_NOEXEC)
    keeps = [_Keep(view.scratch, target, writable=True) for target in resolved(["/tmp", "/var/tmp"])]  # noqa: S108
    keeps += [_Keep(path, path, writable=True) for path in view.writable]
    keeps += [_Keep(path, path, writable=False) for path in view.read_only]
    if view.passwd is not None:
        keeps.append(_Keep(view.passwd, Path("/etc/passwd"), writable=False))
    if view.lock_root:
        linux.set_mount("/", on=linux.MOUNT_ATTR_RDONLY, recursive=True)
        linux.set_mount("/proc", off=linux.MOUNT_ATTR_RDONLY)
    _apply(view.covered, keeps)
    _private_devices()


def _apply(covered: tuple[Path, ...], keeps: list[_Keep]) -> None:
    shown = {keep.target: keep for keep in keeps}
    empty_folders = []
    for path in sorted({*covered, *shown}, key=lambda path: len(path.parts)):
        if path in shown:
            shown[path].show()
        elif path.is_dir():
            linux.mount("tmpfs", str(path), "tmpfs", flags=_PLAIN, options="mode=0755,size=1m")
            empty_folders.append(path)
        elif path.is_char_device():
            _bar_device(path)
        elif path.exists():
            linux.mount("/dev/null", str(path), flags=linux.MS_BIND)
    for path in empty_folders:
        linux.set_mount(str(path), on=linux.MOUNT_ATTR_RDONLY)


def _bar_device(path: Path) -> None:
    """Make opening a device fail with EACCES, which drivers take for "not yours"."""
    linux.mount(str(path), str(path), flags=linux.MS_BIND)
    linux.set_mount(str(path), on=linux.MOUNT_ATTR_NODEV)


def _private_devices() -> None:
    """Shared memory and terminals of the lease's own; all other devices stay as they are."""
    linux.mount("tmpfs", _SHARED_MEMORY, "tmpfs", flags=_PLAIN, options="mode=1777")
    linux.mount("devpts", "/dev/pts", "devpts", flags=linux.MS_NOSUID, options="newinstance,ptmxmode=0666")
    if not Path("/dev/ptmx").is_symlink():
        linux.mount("/dev/pts/ptmx", "/dev/ptmx", flags=linux.MS_BIND)
