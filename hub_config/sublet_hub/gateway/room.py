"""How much memory the bodies of calls may take at once, together and for each account: a call may have 16 MiB, a
process may have a gibibyte, and any code in a user's server can send as many calls as it likes.

Short calls are always let in. What a long one takes is its bytes as they come, and what its JSON takes when it is
read: an empty list is two bytes long and takes thirty times as many.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sublet_hub.gateway import metrics
from sublet_hub.gateway.errors import ModelBusy

SHORT_BYTES = 64 * 1024
ALL_BYTES_MAX = 192 * 2**20
ACCOUNT_BYTES_MAX = ALL_BYTES_MAX // 2
PART_BYTES = 64
"""About what a list, an object or a string takes beside what is in it."""
RETRY_SECONDS = 5


@dataclass(eq=False)
class Share:
    """What one call takes."""

    room: Room
    account: str
    size: int = 0
    taken: int = 0

    def take(self, size: int) -> None:
        """So many bytes more have come. ModelBusy where there is no room for them."""
        self.size += size
        self._hold(self.size - SHORT_BYTES)

    def take_parts(self, body: bytes) -> None:
        """The body will be read as JSON."""
        if self.size > SHORT_BYTES:
            self._hold(self.size + PART_BYTES * (body.count(b",") + body.count(b"[") + body.count(b"{")))

    def _hold(self, size: int) -> None:
        if size > self.taken:
            self.room.take(self.account, size - self.taken)
            self.taken = size


@dataclass
class Room:
    """The memory of this process that bodies may have."""

    taken: int = 0
    _of_accounts: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def share(self, account: str) -> Iterator[Share]:
        """For one call; free again at the end of the block."""
        share = Share(self, account)
        try:
            yield share
        finally:
            if share.taken:
                self._free(account, share.taken)

    def take(self, account: str, size: int) -> None:
        own = self._of_accounts.get(account, 0) + size
        if own > ACCOUNT_BYTES_MAX or self.taken + size > ALL_BYTES_MAX:
            whose = "your account has" if own > ACCOUNT_BYTES_MAX else "there are"
            retry_at_ms = round((time.time() + RETRY_SECONDS) * 1000)
            raise ModelBusy(
                f"This call is long, and {whose} too many long ones under way. Try again shortly.",
                retry_at_ms=retry_at_ms,
            )
        self._of_accounts[account] = own
        self.taken += size
        metrics.BODY_BYTES.set(self.taken)

    def _free(self, account: str, size: int) -> None:
        self._of_accounts[account] -= size
        if not self._of_accounts[account]:
            del self._of_accounts[account]
        self.taken -= size
        metrics.BODY_BYTES.set(self.taken)
