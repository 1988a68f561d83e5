"""The Linux calls that Python 3.11 has no name for, each as a typed function that raises `OSError`.

`PyDLL` keeps the interpreter's lock over a call, which `clone` needs: the child must wake up holding it.
"""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4

_SIGCHLD = 17
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_SYS_MOUNT_SETATTR = 442  # the same on every architecture, Linux 5.12 and newer
_SYS_CLONE = {"x86_64": 56, "aarch64": 220, "ppc64le": 120, "riscv64": 220}

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.PyDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _check(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def fork_into(namespaces: int) -> int:
    """Fork a child that is the first process of these new namespaces (`CLONE_NEW*`); 0 in the child.

    The caller must have one thread only.
    """
    machine = os.uname().machine
    if machine not in _SYS_CLONE:
        raise OSError(f"no namespaces on {machine}: the number of its clone call is not known to Sublet")
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc.syscall(_SYS_CLONE[machine], ctypes.c_ulong(namespaces | _SIGCHLD), 0, 0, 0, 0))
    number = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Call mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {source} on {target}")


def set_mount(target: str, *, on: int = 0, off: int = 0, recursive: bool = False) -> None:
    """Turn `MOUNT_ATTR_*` of a mount (and all mounts under it) on or off: mount_setattr(2)."""
    attributes = _MountAttr(on, off, 0, 0)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR,
        _AT_FDCWD,
        ctypes.c_char_p(os.fsencode(target)),
        _AT_RECURSIVE if recursive else 0,
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(result, f"mount_setattr {target}")


def _prctl(option: int, value: int, what: str) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), what)


def die_with_parent(signal_number: int) -> None:
    """Get this signal when the parent ends. A later change of credentials clears it, so set it after one."""
    _prctl(_PR_SET_PDEATHSIG, signal_number, "set the parent-death signal")


def adopt_orphans() -> None:
    """Become the parent of every orphaned descendant, so that none is lost sight of."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "become child subreaper")


def forbid_inspection() -> None:
    """Keep processes of the same user from tracing this one or reading its memory."""
    _prctl(_PR_SET_DUMPABLE, 0, "forbid inspection")


def give_up_privileges() -> None:
    """No program started from here on (a setuid one neither) can gain privileges its starter lacks."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "set no_new_privs")


def drop_bounding_capabilities() -> None:
    """Empty the capability bounding set, as far as this process may."""
    for capability in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, capability, "drop a capability")
        except OSError:  # past the last capability of this kernel, or not ours to drop
            return
