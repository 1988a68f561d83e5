"""What this server knows of its lease at this moment, and telling those who wait for a change."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sublet_server.times import epoch, moment

MINUTES_KEPT = 60
OVER = frozenset({"ended", "void"})
NOT_ACCEPTING = OVER | {"ending"}

IDLE_UTILISATION_PERCENT = 5
IDLE_MEMORY_PERCENT = 10
"""Below these a minute counts as idle in what is shown, where the pool has no policy."""
LONGEST_APART_SECONDS = 90.0
"""Two records further apart leave a minute out. Until now it may be so long too."""

Document = dict[str, Any]
Clock = Callable[[], float]


class LeaseState:
    """The lease, its notices and the last hour, with a number that grows with each change."""

    def __init__(self, clock: Clock = time.time) -> None:
        self.clock = clock
        self.lease: Document | None = None
        self.notices: dict[str, Document] = {}
        self.connected = False
        self.trouble: str | None = None
        self.ending = False
        self.gpu: Document | None = None
        self.history: deque[Document] = deque(maxlen=MINUTES_KEPT)
        self.previous: Document | None = None
        self.idle_policy: Document | None = None
        self.version = 0
        self._next = asyncio.Event()

    def changed(self) -> None:
        """Wake those who wait."""
        self.version += 1
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seen: int, seconds: float) -> int:
        """Until the version is another than the one seen, or for so many seconds; gives the version."""
        if self.version == seen and seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._next.wait(), seconds)
        return self.version

    @property
    def deadline(self) -> float | None:
        """When the lease ends, in seconds since the epoch; None where that isn't known."""
        try:
            return epoch(self.lease["deadline_at"]) if self.lease else None
        except (KeyError, ValueError):
            return None

    @property
    def reason(self) -> str:
        """Why the lease ends at its deadline."""
        return str((self.lease or {}).get("deadline_reason") or "shutdown")

    @property
    def is_over(self) -> bool:
        return self.lease is not None and self.lease.get("state") in OVER

    def refusal(self) -> str | None:
        """Why no kernel or terminal is started now; None where they are."""
        if self.is_over:
            return "This lease has ended, and nothing new is started in it. Start the server again for a new lease."
        deadline = self.deadline
        late = deadline is not None and deadline <= self.clock()
        if not (self.ending or late or (self.lease or {}).get("state") in NOT_ACCEPTING):
            return None
        why = WHY.get(self.reason, "")
        at = f" at {time.strftime('%H:%M:%S UTC', time.gmtime(deadline))}" if deadline is not None else ""
        return f"This server is about to stop{at}{why}, so nothing new is started in it. What runs goes on."

    @property
    def idle_minutes(self) -> int:
        """For how many of the last minutes, none left out, nothing used the GPU and no kernel was busy."""
        count, later = 0, self.clock()
        for record in reversed(self.history):
            at = epoch(record["at"])
            if later - at > LONGEST_APART_SECONDS or not self._is_idle(record):
                break
            count, later = count + 1, at
        return count

    def _is_idle(self, record: Document) -> bool:
        """As the platform sees it: what isn't known is not idle."""
        lease, policy = self.lease or {}, self.idle_policy or {}
        if record["kernels_busy"] or not (record["gpus"] or lease.get("simulated") or lease.get("gpus_milli") == 0):
            return False
        most_used = policy.get("utilisation_percent", IDLE_UTILISATION_PERCENT)
        most_memory = policy.get("memory_percent", IDLE_MEMORY_PERCENT)
        return all(
            gpu["utilisation_percent"] is not None
            and gpu["utilisation_percent"] < most_used
            and gpu["memory_used_bytes"] * 100 < gpu["memory_total_bytes"] * most_memory
            for gpu in record["gpus"]
        )

    def document(self) -> Document:
        """The whole of it, as browsers get it."""
        refusal = self.refusal()
        return {
            "lease": self.lease,
            "notices": list(self.notices.values()),
            "connected": self.connected,
            "trouble": self.trouble,
            "now": moment(self.clock()),
            "ending": self.ending,
            "accepting": refusal is None,
            "refusal": refusal,
            "gpu": self.gpu,
            "history": list(self.history),
            "previous": self.previous,
            "idle_minutes": self.idle_minutes,
            "idle_stop": {"after_minutes": self.idle_policy.get("after_minutes")} if self.idle_policy else None,
        }


WHY = {
    "quota": " because a quota is used up",
    "limit": " because it reaches the longest time that a lease may last",
    "reclaim": " because the owner of the GPUs takes them back",
    "idle": " because it has been idle",
    "admin": " because an admin has ended it",
    "user": " as you asked",
    "shutdown": " because the platform is shut down",
}
