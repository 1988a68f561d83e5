"""The last seconds of a server: refuse what is new, have documents saved and callbacks run, interrupt what is busy.

The platform ends the server at the deadline, whatever happens here.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from logging import Logger

from sublet_server.browsers import Browsers
from sublet_server.kernel_socket import KernelSocket
from sublet_server.kernels import Kernels
from sublet_server.state import WHY, LeaseState
from sublet_server.times import moment

LOOK_SECONDS = 0.25
"""How often, when it is urgent, to see whether the interrupted kernels are done. Nothing tells of that."""
LONGEST_WAIT_SECONDS = 30.0
"""The wall clock is looked at so often at least: it may be set."""
AGAIN_SECONDS = 1.0
"""A deadline that moves out by less doesn't call off an ending."""
AT_DEADLINE_SECONDS = 5.0
NOTED_AHEAD_SECONDS = 0.3
"""What was not done is noted just before the deadline: little time is left after it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was not done in time: counts, to be told at the next start."""

    callbacks: int
    documents: int


class Ending:
    """Ends once, at the deadline or when told to stop; or calls it off when the deadline moves out."""

    def __init__(
        self, state: LeaseState, kernels: Kernels, socket: KernelSocket, browsers: Browsers, log: Logger,
        *, ending_seconds: float, interrupt_seconds: float,
    ) -> None:  # fmt: skip
        self.outcome: Outcome | None = None
        self._state = state
        self._kernels = kernels
        self._socket = socket
        self._browsers = browsers
        self._log = log
        self._ending_seconds = ending_seconds
        self._interrupt_seconds = interrupt_seconds
        self._interrupted = False
        self._is_told_to_stop = False

    async def watch(self) -> None:
        """Do in time what the deadline asks for."""
        while True:
            seen = self._state.version
            wait = await self._step()
            await self._state.wait(seen, min(wait, LONGEST_WAIT_SECONDS))

    async def within(self, seconds: float, reason: str) -> None:
        """End in so many seconds: done at the latest then, and as soon as nothing is to be waited for."""
        self._is_told_to_stop = True
        if self.outcome is not None:
            return
        until = self._state.clock() + seconds
        if not self._state.ending:
            self._begin(self._nearest_reason(reason), until)
        while (left := until - self._state.clock()) > 0:
            await self._interrupt_if_due(left if self._is_waited_for() else 0)
            if not (self._is_waited_for() or self._kernels.busy()):
                break
            await self._state.wait(self._state.version, min(left, LOOK_SECONDS))
        self._finish()

    def call_off(self) -> None:
        """Go on as before: there is no end now."""
        self._state.ending = False
        self._interrupted = self._is_told_to_stop = False
        self.outcome = None
        self._socket.go_on()
        self._browsers.go_on()
        self._state.changed()
        self._log.info("Sublet: this server goes on")

    async def _step(self) -> float:
        """What is due now; gives the seconds until something else is."""
        deadline = self._state.deadline
        if self._is_told_to_stop or deadline is None or self._state.is_over:
            return LONGEST_WAIT_SECONDS
        left = deadline - self._state.clock()
        if left > self._ending_seconds:
            if self._state.ending and left > self._ending_seconds + AGAIN_SECONDS:
                self.call_off()
            if not self._state.ending:
                return left - self._ending_seconds
        elif not self._state.ending:
            self._begin(self._state.reason, deadline)
        await self._interrupt_if_due(left)
        if left > self._interrupt_seconds:
            return left - self._interrupt_seconds
        if left > NOTED_AHEAD_SECONDS:
            return left - NOTED_AHEAD_SECONDS
        self._finish()
        return LONGEST_WAIT_SECONDS

    def _begin(self, reason: str, until: float) -> None:
        self._log.warning("Sublet: this server stops at %s (%s)", moment(until), reason)
        self._state.ending = True
        self._socket.ending(reason, moment(until))
        self._browsers.ask_to_save(uuid.uuid4().hex, moment(until), f"This server stops{WHY.get(reason, '')}.")

    async def _interrupt_if_due(self, left: float) -> None:
        if left <= self._interrupt_seconds and not self._interrupted:
            self._interrupted = True
            count = await self._kernels.interrupt_busy()
            if count:
                self._log.warning("Sublet: %i busy kernels are interrupted, since the server stops", count)

    def _is_waited_for(self) -> bool:
        return bool(self._socket.unfinished or self._browsers.unsaved)

    def _finish(self) -> None:
        if self.outcome is not None:
            return
        self.outcome = Outcome(self._socket.unfinished + self._socket.failed, self._browsers.failed)
        if self.outcome != Outcome(0, 0) or self._browsers.unsaved:
            self._log.warning(
                "Sublet: at the end %i callbacks are not done, %i documents and %i browsers have not saved",
                self.outcome.callbacks, self.outcome.documents, self._browsers.unsaved,
            )  # fmt: skip
        self._state.changed()

    def _nearest_reason(self, reason: str) -> str:
        """A stop right at the deadline, or of a lease that was told to end, is for the deadline's reason."""
        deadline = self._state.deadline
        near = deadline is not None and deadline - self._state.clock() < AT_DEADLINE_SECONDS
        told = (self._state.lease or {}).get("state") == "ending"
        return self._state.reason if near or told else reason
