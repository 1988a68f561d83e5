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
"""Below these a minute counts as idle in what is shown. The platform's policy has its own, and decides by itself."""

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
        """How many of the last minutes, without a gap before now, nothing used the GPU and no kernel was busy."""
        count = 0
        for record in reversed(self.history):
            if not is_idle(record):
                break
            count += 1
        return count

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
            "idle_stop": (self.lease or {}).get("idle_stop"),
        }


def is_idle(record: Document) -> bool:
    """Whether in this minute no kernel was busy and no GPU was used or filled to speak of."""
    return record["kernels_busy"] == 0 and all(
        (gpu["utilisation_percent"] or 0) < IDLE_UTILISATION_PERCENT
        and gpu["memory_used_bytes"] * 100 < gpu["memory_total_bytes"] * IDLE_MEMORY_PERCENT
        for gpu in record["gpus"]
    )


WHY = {
    "quota": " because a quota is used up",
    "limit": " because it reaches the longest time that a lease may last",
    "reclaim": " because the owner of the GPUs takes them back",
    "idle": " because it has been idle",
    "admin": " because an admin has ended it",
    "user": " as you asked",
}
