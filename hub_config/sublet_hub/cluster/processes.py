"""Which process is which: a pid alone is not a name, since the kernel hands it out again."""

import os
from collections import defaultdict
from pathlib import Path

_DEAD_STATES = frozenset("ZXx")


def boot_id() -> str:
    """Name this run of the kernel; it differs after every reboot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on; None where there is no such process.

    Source: proc_pid_stat(5). The name, field 2, may hold spaces and brackets.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where there is none, or only its zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in _DEAD_STATES:
        return None
    return int(fields[19])


def is_alive(pid: int, ticks: int) -> bool:
    """Whether the process that had this pid and start time still runs. The caller excludes reboots."""
    return start_ticks(pid) == ticks


def descendants(pid: int) -> list[int]:
    """All processes below one. A snapshot: they may fork while it is taken."""
    below: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted, of hundreds of entries
        if entry.isdecimal() and (fields := _stat(int(entry))) is not None:
            below[int(fields[1])].append(int(entry))
    found: list[int] = []
    waiting = list(below[pid])
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting += below[current]
    return found


def signal_all(pids: list[int], signal_number: int) -> None:
    """Signal each; those that are gone already are passed over."""
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            continue
