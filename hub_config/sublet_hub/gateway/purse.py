"""What one payer may spend through this process: their holds, what running calls have reserved of them, and what
ended calls have used. Calls draw on it without asking anybody.

    left = held by the platform - used and not yet posted - reserved by running calls
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sublet_hub.gateway.amounts import NOTHING, Payer, Spend, Use, Uses, add_use
from sublet_hub.gateway.journal import Journal
from sublet_hub.gateway.platform_api import Allowance
from sublet_hub.gateway.rate_limits import Limit

PLENTY = 4


@dataclass(eq=False)
class Hold:
    """One allowance of the api's, and the calls that are booked on it."""

    id: str
    payer: Payer
    journal: Journal
    held: Spend = NOTHING
    """What the api holds, after all posts whose answers we have."""
    expires_at: float = 0.0
    number: int = 0
    """Of the last post that was begun."""
    open: Uses = field(default_factory=dict)
    open_spend: Spend = NOTHING
    """Calls in no post, and what they come to."""
    sent: Uses | None = None
    sent_spend: Spend = NOTHING
    """What is in the post whose answer we wait for."""
    sent_released: bool = False
    """Whether that post, when it was first sent, was to release the hold. Repeated, it does nothing new."""
    releasing: bool = False
    is_closed: bool = False

    @property
    def rest(self) -> Spend:
        """What is left of it, reservations apart. Below zero where calls used more than was held."""
        return self.held - self.open_spend - self.sent_spend

    @property
    def unposted_calls(self) -> int:
        return sum(use.calls for uses in (self.open, self.sent or {}) for use in uses.values())

    def use(self, model: str, use: Use, spend: Spend) -> None:
        """Book a call that has ended; it is on disk when this returns."""
        self.journal.called(self.id, model, use)
        add_use(self.open, model, use)
        self.open_spend += spend

    def begin_post(self) -> Uses:
        """What the next post holds; the same again until it is known to be booked."""
        if self.sent is None:
            self.number += 1
            self.journal.posting(self.id, self.number)
            self.sent, self.sent_spend = self.open, self.open_spend
            self.open, self.open_spend = {}, NOTHING
            self.sent_released = self.releasing
        return self.sent

    def end_post(self, told: Allowance) -> None:
        """The post is booked, and so much is held now."""
        self.journal.posted(self.id, self.number)
        self.sent, self.sent_spend = None, NOTHING
        self.held, self.expires_at = told.held, told.expires_at
        if self.sent_released and not self.open:
            self.close()

    def close(self) -> None:
        self.is_closed = True
        self.journal.closed(self.id)


@dataclass(eq=False)
class Purse:
    """All holds of one payer that calls may draw on, newest last."""

    payer: Payer
    used_at: float
    """When it was last drawn on, by the monotonic clock."""
    holds: list[Hold] = field(default_factory=list)
    reserved: Spend = NOTHING
    calls: int = 0
    """Calls that run on it."""
    limits: tuple[Limit, ...] = ()
    ahead: Spend = NOTHING
    """What is asked for at a time."""

    @property
    def left(self) -> Spend:
        total = NOTHING
        for hold in self.holds:
            total += hold.rest
        return total - self.reserved

    @property
    def has_plenty(self) -> bool:
        """Whether its limits leave several times what is asked for at a time. Where not, only what calls need is
        asked for: other processes, and other ways to spend, need the rest."""
        amounts = {"model_tokens": self.ahead.tokens, "money_microunits": self.ahead.money}
        return all(limit.left >= PLENTY * amounts.get(limit.what, 0) for limit in self.limits)

    def forget_ended(self, now: float) -> None:
        """Draw no more on what is released, or has run out of time: the api has voided it."""
        self.holds = [
            hold for hold in self.holds if not hold.releasing and not hold.is_closed and hold.expires_at > now
        ]

    def hold_for(self, spend: Spend) -> Hold:
        """On which of the holds to book so much: the oldest that has it, else the newest."""
        return next((hold for hold in self.holds if hold.rest.covers(spend)), self.holds[-1])
