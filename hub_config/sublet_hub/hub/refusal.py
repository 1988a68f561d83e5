"""What a user is told when a lease is refused or was ended: which limit, until when, whom to ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jupyterhub.spawner import SpawnException

from sublet_hub.hub import wording
from sublet_hub.hub.markup import render
from sublet_hub.hub.messages import Lease, Limit, Problem

QUOTA_PROBLEMS = frozenset({"quota-exceeded", "no-quota"})
"""Problems that somebody who may set quotas can mend."""

UNTOLD_ENDS = frozenset({"user", "exited", "replaced", "shutdown", None})
"""Ends that the user brought about, or knows of: nothing to explain."""

REFUSAL_STATUS = 403
AWAY_STATUS = 503


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, until when (None: not known, or never), and whether more quota would help."""

    sentence: str
    resets_at: datetime | None = None
    ask_for_quota: bool = False


def explain(problem: Problem, user: str, currency: str) -> Explanation:
    """A refusal in words. The problem's own sentence stands where we know no better one."""
    ask = problem.name in QUOTA_PROBLEMS
    bound = problem.limit
    if problem.name != "quota-exceeded" or bound is None or bound.what == "lease_seconds":
        return Explanation(problem.detail, problem.retry_at, ask)
    subject = bound.subject or problem.subject
    if bound.window is None:
        more = f"This would be more than {wording.whose(subject, user)} limit of {wording.limit(bound, currency)}."
        return Explanation(more, problem.retry_at, ask)
    return Explanation(_reached(bound, subject, user, currency), _more_from(bound, problem.retry_at), ask)


def explain_end(lease: Lease) -> Explanation | None:
    """Why a lease was ended by policy; None where its user needs no explanation."""
    if lease.is_open or lease.end_reason in UNTOLD_ENDS:
        return None
    bound = lease.deadline_limit
    if lease.end_reason in {"quota", "limit"} and bound is not None:
        sentence = _reached(bound, bound.subject, lease.user, lease.currency)
        return Explanation(sentence, _more_from(bound), ask_for_quota=True)
    reason = wording.END_REASONS.get(lease.end_reason or "", f"reason: {lease.end_reason}")
    return Explanation(f"{reason[0].upper()}{reason[1:]}.")


def _reached(bound: Limit, subject: str | None, user: str, currency: str) -> str:
    whose = wording.whose(subject, user)
    if bound.limit == 0:
        return f"{whose[0].upper()}{whose[1:]} quota allows no {wording.nothing_of(bound)}."
    over = "is used up" if bound.window else "is reached"
    return f"{whose[0].upper()}{whose[1:]} limit of {wording.limit(bound, currency)} {over}."


def _more_from(bound: Limit, retry_at: datetime | None = None) -> datetime | None:
    """From when there is more: never, where nothing is allowed."""
    return (bound.resets_at or retry_at) if bound.limit else None


class LeaseRefusedError(SpawnException):
    """The server can't be started; the message is for the user, in text and in HTML.

    `reason` labels JupyterHub's metric of failed spawns, so it must be one of few: a problem's stable type name.
    """

    def __init__(
        self,
        explanation: Explanation,
        *,
        reason: str,
        status_code: int = REFUSAL_STATUS,
        contact: str = "",
        form_url: str = "",
        log_message: str = "",
    ) -> None:
        text = explanation.sentence
        if explanation.resets_at is not None:
            text += f" More is left from {wording.utc_text(explanation.resets_at)}."
        if explanation.ask_for_quota and contact:
            text += f" To get more, ask {contact}."
        html = render("sublet/refusal.html", why=explanation, contact=contact, form_url=form_url)
        super().__init__(text, reason=reason, log_message=log_message, message_html=html, status_code=status_code)
        # JupyterHub 6.1 shows message_html on error pages only; elsewhere it looks for these two.
        self.jupyterhub_message = text
        self.jupyterhub_html_message = html
