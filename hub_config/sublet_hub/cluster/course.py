"""When a server is to be ended, and how hard: pure, so that every hour can be tried.

The deadline is wall-clock time; how long a server is given to end is measured by a clock that never steps.
"""

from typing import Literal

Action = Literal["wait", "terminate", "kill"]
TICK_MS = 250
"""How often the deadline is read again and the server noted as alive."""
_LEAST_GRACE_MS = 200
"""What a server is given even when its deadline was moved into the past."""
_AFTER_KILL_MS = 50


class Course:
    """The way of one server to its end."""

    def __init__(self, *, deadline_ms: int, term_grace_ms: int, stop_grace_ms: int) -> None:
        """Take the time from SIGTERM to SIGKILL at the deadline, and the one when asked to stop.

        The first is best below 1000, since the end is due within a second of the deadline. The second is never
        given longer than the deadline would have left.
        """
        self.deadline_ms = deadline_ms
        self.cause: Literal["deadline", "stop"] | None = None
        self._term_grace_ms = term_grace_ms
        self._stop_grace_ms = stop_grace_ms
        self._terminated_at = 0
        self._killed = False

    def heed(self, wall_ms: int, steady_ms: int, *, stop_asked: bool) -> Action:
        """Decide what to do now."""
        if self.cause is None:
            if not stop_asked and wall_ms < self.deadline_ms:
                return "wait"
            self.cause = "stop" if stop_asked else "deadline"
            self._terminated_at = steady_ms
            return "terminate"
        if self._until_kill(wall_ms, steady_ms) > 0:
            return "wait"
        self._killed = True
        return "kill"

    def wait_ms(self, wall_ms: int, steady_ms: int) -> int:
        """How long to wait, at most, before heeding again."""
        if self._killed:
            return _AFTER_KILL_MS
        until = self.deadline_ms - wall_ms if self.cause is None else self._until_kill(wall_ms, steady_ms)
        return max(0, min(TICK_MS, until))

    def _until_kill(self, wall_ms: int, steady_ms: int) -> int:
        grace = self._stop_grace_ms if self.cause == "stop" else self._term_grace_ms
        since_asked = steady_ms - self._terminated_at
        by_deadline = self.deadline_ms + self._term_grace_ms - wall_ms
        return max(min(grace - since_asked, by_deadline), _LEAST_GRACE_MS - since_asked)
