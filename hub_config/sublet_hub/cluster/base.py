"""The port through which the platform sees and steers what really runs.

The meter believes what a `Cluster` reports: a lease began and ended when the thing that ran it says so,
not when somebody looked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Cause = Literal["exited", "deadline", "stop", "lost", "oom", "evicted"]
"""Why a server ended: by itself; its deadline passed; `Cluster.stop` asked for it; its supervising parent (or
the whole machine) went down, which is found out later and dated to the last moment it was seen alive; it used more
memory than it had; the cluster, or somebody past us, took it away (evicted, preempted, drained, deleted)."""


class LeaseUnknownError(LookupError):
    """The cluster holds nothing (any more) under this lease id."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Who is to pay for what, as the thing that runs says of itself. Believed only where nobody granted it."""

    user: str
    account: str
    flavor: str
    tier: str


@dataclass(frozen=True, slots=True)
class Stray:
    """Something that holds GPUs where only leases should, and says of no lease that it is one."""

    name: str
    gpus: int


@dataclass(frozen=True, slots=True)
class Observed:
    """One open lease, as the cluster knows it. Times are wall-clock milliseconds since the epoch."""

    lease_id: str
    started_at_ms: int | None
    """None until the server has really been started."""
    ended_at_ms: int | None
    """None while any process of the server may still hold the GPU. Set without a start: it never will start."""
    cause: Cause | None
    exit_code: int | None
    """As a shell reports it: 128 + n after signal n. None when not known (`lost`)."""
    armed_deadline_ms: int | None
    """The deadline that will end the server though all of the platform be dead."""
    alive_at_ms: int | None = None
    """Up to when the server is known to have run: start plus measured span, so free of wall clock steps. Use is
    posted up to here and no further. None before the start."""
    broken: str | None = None
    """A sentence, when the lease's record can't be understood. Nothing else but the id can then be relied
    on: neither that the server runs, nor that it doesn't. It is for an admin to look at."""
    claims: Claims | None = None
    """What it says of itself, where the cluster lets others than us start things."""
    guarded: bool = True
    """Whether something ends it at a deadline that may yet be moved out. Else it is to be stopped then."""

    @property
    def running(self) -> bool:
        """Whether the server has started and not ended, as far as is known."""
        return self.broken is None and self.started_at_ms is not None and self.ended_at_ms is None


class Cluster(Protocol):
    """What runs leases. All methods may block for the time of a few file or network operations."""

    def observe(self) -> Sequence[Observed]:
        """Every open lease: prepared, running, or ended and not yet forgotten. One broken lease never hides
        the others. The cost follows the number of open leases, never of those that have been."""

    def arm(self, lease_id: str, deadline_ms: int, reason: str) -> None:
        """Move the deadline, out or in. Durable when this returns. Raises `LeaseUnknownError`."""

    def stop(self, lease_id: str) -> None:
        """Ask for the server to be ended now, gracefully; the end shows in `observe`.

        Returns at once. A lease that has not started yet won't. Raises `LeaseUnknownError`.
        """

    def forget(self, lease_id: str) -> None:
        """Archive a lease whose end has been posted; it is observed no more. Repeating it is harmless."""

    def withdraw(self, lease_id: str) -> bool:
        """See to it that a lease that has not started never will. False if it has started after all (or may have):
        then it must not be voided. True, too, where nothing was ever prepared for it."""

    def strays(self) -> Sequence[Stray]:
        """What holds GPUs without being a lease: for an admin to look at. It is never touched."""

    def trouble(self) -> str | None:
        """A sentence while what runs can't be seen: what `observe` tells is then of the past. None: all is well."""
