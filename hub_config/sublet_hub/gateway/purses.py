"""Reserving for calls and settling them. The api is asked ahead, for more than one call needs, and rarely."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sublet_hub.gateway import journal, metrics
from sublet_hub.gateway.amounts import Counts, Payer, Spend, Use
from sublet_hub.gateway.errors import OverAllowance
from sublet_hub.gateway.platform_api import Allowance, Platform
from sublet_hub.gateway.purse import Hold, Purse

log = logging.getLogger(__name__)

ONE_TOKEN = Spend(1, 0)
"""The least that can be asked for."""

HOLD_MARGIN_SECONDS = 300
"""How much longer than the longest call a hold is asked for."""

LONGEST_HOLD_SECONDS = 3600
"""The api grants no longer ones; they are renewed while calls run."""


@dataclass
class Reservation:
    """What one running call may spend. Settled exactly once."""

    purse: Purse
    spend: Spend
    is_settled: bool = field(default=False)


class Purses:
    """All payers of this process."""

    def __init__(
        self,
        platform: Platform,
        folder: Path,
        *,
        ahead_tokens: int,
        call_seconds: int,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,  # seconds since the epoch, as the api's moments
    ) -> None:
        self._platform = platform
        self._folder = folder
        self._purses: dict[Payer, Purse] = {}
        self._asking: dict[Payer, asyncio.Lock] = {}
        self.monotonic = monotonic
        self.now = now
        self.journal = journal.begin(folder)
        self.holds: dict[str, Hold] = {}
        """All that are not closed, also of payers who call no more and of processes that died."""
        self.ahead_tokens = ahead_tokens
        self.hold_seconds = min(call_seconds + HOLD_MARGIN_SECONDS, LONGEST_HOLD_SECONDS)

    async def reserve(self, payer: Payer, wanted: Spend, least: Spend, ahead: Spend) -> Reservation:
        """Set aside what a call may spend at most: all that is wanted, or at least the least of it. OverAllowance
        where quotas don't allow that, Unavailable where the api doesn't answer. `ahead` is what to ask for at a
        time."""
        purse = self._purses.get(payer)
        if purse is None:
            purse = self._purses[payer] = Purse(payer, self.monotonic())
        purse.calls += 1  # so that the purse is not put away while we ask
        purse.ahead = ahead
        try:
            if not self._left(purse).covers(wanted):
                async with self._asking.setdefault(payer, asyncio.Lock()):
                    await self._ask(purse, wanted, least)
            granted = wanted.at_most(self._left(purse))
        except BaseException:
            purse.calls -= 1
            raise
        purse.reserved += granted
        purse.used_at = self.monotonic()
        return Reservation(purse, granted)

    def give_back(self, reservation: Reservation, spend: Spend) -> None:
        """Give a part back that the call turns out not to need."""
        reservation.spend -= spend
        reservation.purse.reserved -= spend

    def settle(self, reservation: Reservation, model: str, counts: Counts | None, spend: Spend) -> None:
        """The call has ended: book what it used (None: nothing), and free the rest."""
        if reservation.is_settled:
            return
        reservation.is_settled = True
        purse = reservation.purse
        if counts is not None:
            use = Use(1, counts.input_tokens, counts.output_tokens)
            self._book(purse, model, use, spend)
        purse.reserved -= reservation.spend
        purse.calls -= 1
        purse.used_at = self.monotonic()

    @property
    def unposted_calls(self) -> int:
        return sum(hold.unposted_calls for hold in self.holds.values())

    def all(self) -> list[Purse]:
        return list(self._purses.values())

    def purse_of(self, hold: Hold) -> Purse | None:
        """The purse that draws on a hold; None where none does any more."""
        purse = self._purses.get(hold.payer)
        return purse if purse is not None and any(each is hold for each in purse.holds) else None

    def put_away(self, purse: Purse) -> None:
        """Forget a payer who calls no more. Their holds are still posted and released."""
        self._purses.pop(purse.payer, None)
        if (lock := self._asking.get(purse.payer)) is not None and not lock.locked():
            del self._asking[purse.payer]

    def _left(self, purse: Purse) -> Spend:
        purse.forget_ended(self.now())
        return purse.left

    def _book(self, purse: Purse, model: str, use: Use, spend: Spend) -> None:
        """Onto one of its holds. Where all have run out meanwhile, the last still takes late posts."""
        late = [hold for hold in self.holds.values() if hold.payer == purse.payer and not hold.is_closed]
        if purse.holds:
            purse.hold_for(spend).use(model, use, spend)
        elif late:
            late[-1].use(model, use, spend)
        else:  # the api refused to book on the only hold there was
            metrics.POSTS.labels("refused").inc()
            log.error("a call of %s (%d tokens) could not be booked for want of an allowance", model, spend.tokens)

    async def _ask(self, purse: Purse, wanted: Spend, least: Spend) -> None:
        left = self._left(purse)
        if left.covers(wanted):
            return  # another call has asked meanwhile
        missing = (wanted - left).at_least(ONE_TOKEN)
        needed = (least - left).at_least(ONE_TOKEN)
        asked = missing.at_least(purse.ahead) if purse.has_plenty else missing
        try:
            told = await self._platform.allow(purse.payer, asked, needed, self.hold_seconds)
        except OverAllowance:
            if not left.covers(least):
                raise
            return  # there is not all that is wanted, but enough
        self._take_up(purse, told)

    def _take_up(self, purse: Purse, told: Allowance) -> None:
        if self.journal.is_full:
            self.journal = journal.begin(self._folder)
        self.journal.opened(told.id, purse.payer)
        hold = Hold(told.id, purse.payer, self.journal, told.held, told.expires_at)
        self.holds[hold.id] = hold
        purse.holds.append(hold)
        purse.limits = told.limits

    def take_over(self) -> int:
        """Take up the holds of gateways that died, to post what they had not and release them; says how many."""
        before = len(self.holds)
        for left in journal.left_behind(self._folder):
            for hold_id, kept in left.read().items():
                self.holds[hold_id] = Hold(
                    hold_id, kept.payer, left, number=kept.number, open=kept.open, sent=kept.sent, releasing=True
                )
            if left.is_settled:
                left.discard()
        return len(self.holds) - before

    def close(self) -> None:
        """Let go of the journals; those with nothing open are taken away."""
        for each in {hold.journal for hold in self.holds.values()} | {self.journal}:
            with suppress(OSError):
                each.discard() if each.is_settled else each.close()
