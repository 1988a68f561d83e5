"""What the notebook server tells a kernel: a notice, or that the end has begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sublet import fields, wording


@dataclass(frozen=True, slots=True)
class Notice:
    """What a function of `sublet.on_notice` is called with."""

    reason: str
    """`quota`, `reclaim`, `limit`, `idle` or `admin`; at the end also `user`, or another word for what ends it."""
    sentence: str
    """For people: why, and what to do."""
    deadline: datetime
    """When the server stops; aware, in UTC."""
    seconds_left: int
    """Until then, counted when the function was called; never below zero."""
    ending: bool
    """False for a warning; True once the server ends: what isn't done by the deadline is cut off."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the server. `id` is the same where the same is told again, on a new connection."""

    id: str
    reason: str
    sentence: str
    deadline: datetime
    ending: bool

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Event | None:
        """None for an event of a newer server; KeyError, TypeError or ValueError where it isn't what it should be."""
        kind = fields.text(document["event"])
        if kind == "notice":
            notice = document["notice"]
            return cls(
                id=f"notice {fields.text(notice['id'])}",
                reason=fields.text(notice["reason"]),
                sentence=fields.text(notice["message"]),
                deadline=fields.moment(document["deadline_at"]).astimezone(UTC),
                ending=False,
            )
        if kind == "ending":
            reason, until = fields.text(document["reason"]), fields.moment(document["until"]).astimezone(UTC)
            why = wording.ENDED.get(reason, reason)
            sentence = f"This server stops, at {until:%H:%M:%S} UTC at the latest: {why}."
            return cls(f"ending {reason} {until.isoformat()}", reason, sentence, until, ending=True)
        return None

    def notice(self) -> Notice:
        """As of now."""
        left = max(0, int((self.deadline - datetime.now(UTC)).total_seconds()))
        return Notice(self.reason, self.sentence, self.deadline, left, self.ending)
