"""Posting what was used to the api, about once a second, and releasing holds that nobody needs."""

from __future__ import annotations

import asyncio
import logging

from sublet_hub.domain.errors import PublicError
from sublet_hub.gateway import metrics
from sublet_hub.gateway.amounts import NOTHING, Spend
from sublet_hub.gateway.platform_api import Platform, PostRefused
from sublet_hub.gateway.purse import Hold, Purse
from sublet_hub.gateway.purses import Purses

log = logging.getLogger(__name__)

POST_SECONDS = 1.0
IDLE_SECONDS = 5.0
"""How long after a payer's last call what is held for them is released."""
POSTS_AT_ONCE = 8
SHUTDOWN_TRIES = 3


class Booking:
    """The loop. Whatever fails is tried again in the next round: the journal has it."""

    def __init__(self, platform: Platform, purses: Purses) -> None:
        self._platform = platform
        self._purses = purses
        self._turn = asyncio.Semaphore(POSTS_AT_ONCE)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(POST_SECONDS)
            try:
                await self.round()
            except Exception as error:  # the top of the loop
                metrics.FAILURES.labels(type(error).__name__).inc()
                log.exception("a round of posts failed")

    async def round(self) -> None:
        """Post all that there is to post."""
        self._put_away_idle()
        due = [hold for hold in self._purses.holds.values() if self._is_due(hold)]
        if due:
            for journal in {hold.journal for hold in due}:
                await asyncio.to_thread(journal.sync)
            await asyncio.gather(*(self._post(hold) for hold in due))
        self._clear()
        metrics.UNPOSTED.set(self._purses.unposted_calls)

    async def settle_all(self) -> None:
        """At the end: post everything and release every hold, as far as the api lets us."""
        for purse in self._purses.all():
            self._release(purse)
        for _ in range(SHUTDOWN_TRIES):
            await self.round()
            if not self._purses.holds:
                return
        log.warning("%d holds could not be settled; the next start does it", len(self._purses.holds))

    def _put_away_idle(self) -> None:
        now = self._purses.monotonic()
        for purse in self._purses.all():
            if purse.calls == 0 and now - purse.used_at > IDLE_SECONDS:
                self._release(purse)
            elif len(purse.holds) > 1 or (purse.holds and purse.holds[0].journal is not self._purses.journal):
                self._release_spent(purse)

    def _release(self, purse: Purse) -> None:
        for hold in purse.holds:
            hold.releasing = True
        if purse.calls == 0:
            self._purses.put_away(purse)

    def _release_spent(self, purse: Purse) -> None:
        """Release the oldest hold where what is left without it covers all running calls."""
        oldest = purse.holds[0]
        spare = purse.left - oldest.rest
        if (spare.covers(NOTHING) and not oldest.rest.covers(Spend(1, 0))) or purse.reserved == NOTHING:
            oldest.releasing = True

    def _is_due(self, hold: Hold) -> bool:
        return bool(hold.open) or hold.sent is not None or hold.releasing or self._renewal(hold) is not None

    def _renewal(self, hold: Hold) -> tuple[Spend, int] | None:
        """What should be held after the next post, and for how long: more where half of what is asked for at a time
        is used, longer where half of the time is over. Never less than now, since running calls may have reserved
        it."""
        purse = self._purses.purse_of(hold)
        if purse is None or hold.releasing or purse.holds[-1] is not hold or purse.calls == 0:
            return None
        low = Spend(purse.ahead.tokens // 2, purse.ahead.money // 2)
        is_low = purse.has_plenty and not purse.left.covers(low)
        is_late = hold.expires_at - self._purses.now() < self._purses.hold_seconds / 2
        if not is_low and not is_late:
            return None
        rest = hold.rest.at_least(NOTHING)
        return (rest + purse.ahead if is_low else rest, self._purses.hold_seconds)

    async def _post(self, hold: Hold) -> None:
        async with self._turn:
            renew = self._renewal(hold)
            uses = hold.begin_post()
            try:
                told = await self._platform.post(hold.id, hold.number, uses, renew, release=hold.sent_released)
            except PostRefused as error:
                metrics.POSTS.labels("refused").inc()
                counts = [(model, use.calls, use.input_tokens, use.output_tokens) for model, use in uses.items()]
                log.error(
                    "the api refuses post %d of allowance %s (%s); not booked: %s",
                    hold.number,
                    hold.id,
                    error,
                    counts,
                )
                hold.close()
            except PublicError as error:
                metrics.POSTS.labels("failed").inc()
                log.warning("post %d of allowance %s is tried again (%s)", hold.number, hold.id, error.type_name)
            else:
                metrics.POSTS.labels("done").inc()
                hold.end_post(told)
                if (purse := self._purses.purse_of(hold)) is not None:
                    purse.limits = told.limits

    def _clear(self) -> None:
        """Forget what is closed, and take away journals that nobody needs any more."""
        holds = self._purses.holds
        journals = {hold.journal for hold in holds.values()}
        for closed in [each for each in holds.values() if each.is_closed]:
            del holds[closed.id]
        for journal in journals:
            if journal.is_settled and journal is not self._purses.journal:
                journal.discard()
