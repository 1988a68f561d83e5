"""Allowances: tokens and money that one process of the gateway holds for a caller, and what was used of them.

As with a lease an amount is held first and used after. Calls come too often to ask for each, so an allowance is drawn
on where the calls are made, and what was used is posted. For each allowance at any time, in tokens and in money:

    holds = posts + voids + what is still held
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.admission import refusal
from sublet_hub.domain.amounts import ZERO, Amount, Micros
from sublet_hub.domain.errors import CallsQuotaExceeded, Conflict
from sublet_hub.domain.models import ModelCatalogue, money_of
from sublet_hub.domain.quota import LimitState, What

LATE_MS = 24 * 3_600_000
"""How long after an allowance's end posts are still taken: a gateway that comes back tells what had been used."""

KEPT_MS = 2 * LATE_MS
"""How long an allowance that is over is kept; the ledger keeps what it used for ever."""

DRAWN = (What.TOKENS, What.MONEY)
"""The limits that calls count towards. A limit of a single flavor is for leases of that flavor."""


@dataclass(frozen=True, slots=True)
class AllowanceRequest:
    """What a gateway asks to hold: at most the first amount, at least the second, for so long."""

    user: str
    account: Subject
    asked: Amount
    least: Amount
    lasts_ms: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """An allowance as the store keeps it. Moments are milliseconds since the epoch.

    `held` is what is still held, `posted` all that was used. `posts` is the number of the last post, `post_mark`
    tells its content from another's, `posted_at_ms` when it was booked (the grant's moment before the first). It is
    closed when it was released, or voided after it had expired.
    """

    id: str
    user: str
    account: Subject
    granted_at_ms: int
    expires_at_ms: int
    held: Amount
    posted_at_ms: int
    posted: Amount = ZERO
    posts: int = 0
    post_mark: str = ""
    closed_at_ms: int | None = None

    @property
    def is_open(self) -> bool:
        return self.closed_at_ms is None


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Calls of one model since the last post, and their tokens."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def amount(self, catalogue: ModelCatalogue) -> Amount:
        """What a quota counts of them. The price is the catalogue's of now; none for a model that left it, whose use
        is booked all the same."""
        model = catalogue.models.get(self.model)
        serving = None if model is None else model.serving
        money = Micros(0) if serving is None else money_of(serving, self.input_tokens, self.output_tokens)
        return Amount(money=money, tokens=self.tokens)


@dataclass(frozen=True, slots=True)
class Renewal:
    """How much is to be held after a post, and for how long from then."""

    wanted: Amount
    lasts_ms: int


@dataclass(frozen=True, slots=True)
class Post:
    """What was used since the post before. `number` counts an allowance's posts from 1."""

    number: int
    uses: tuple[CallCounts, ...]
    renewal: Renewal | None = None
    release: bool = False

    @property
    def mark(self) -> str:
        """Another one for other uses."""
        content = [[use.model, use.calls, use.input_tokens, use.output_tokens] for use in self.uses]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ModelUse:
    """Calls of a model with their tokens and price, of some time."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    money: Micros = ZERO.money

    def __add__(self, other: ModelUse) -> ModelUse:
        return ModelUse(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            Micros(self.money + other.money),
        )


def drawn_on(states: Iterable[LimitState]) -> tuple[LimitState, ...]:
    """Those of an account's limits that calls count towards."""
    return tuple(state for state in states if state.limit.what in DRAWN and state.limit.flavor is None)


def room(states: Sequence[LimitState], asked: Amount) -> Amount:
    """How much of what is asked for fits all limits."""
    tokens, _ = _within(states, What.TOKENS, asked.tokens)
    money, _ = _within(states, What.MONEY, asked.money)
    return Amount(tokens=tokens, money=Micros(money))


def first_hold(states: Sequence[LimitState], wanted: AllowanceRequest) -> Amount:
    """How much an allowance holds first. CallsQuotaExceeded names the tightest limit where that is less than is
    needed."""
    for what, asked, least in (
        (What.TOKENS, wanted.asked.tokens, wanted.least.tokens),
        (What.MONEY, wanted.asked.money, wanted.least.money),
    ):
        fitting, tightest = _within(states, what, asked)
        if tightest is not None and fitting < least:
            refused = refusal(tightest)
            raise CallsQuotaExceeded(refused.message, retry_at_ms=refused.retry_at_ms, **refused.detail_fields)
    return room(states, wanted.asked)


def _within(states: Sequence[LimitState], what: What, asked: int) -> tuple[int, LimitState | None]:
    """How much of it fits, and the limit that leaves no more; None where it fits whole."""
    tightest = min(
        (state for state in states if state.limit.what is what), key=lambda state: state.left, default=None
    )
    if tightest is None or tightest.left >= asked:
        return asked, None
    return tightest.left, tightest


def is_repeated(allowance: Allowance, post: Post) -> bool:
    """Whether a post was booked before. Conflict where one before it is missing, or where its number came with
    other uses."""
    if post.number == allowance.posts and post.mark != allowance.post_mark:
        raise Conflict(f"Post {post.number} of this allowance came with other uses before.", field="number")
    if post.number > allowance.posts + 1:
        raise Conflict(f"Post {allowance.posts + 1} of this allowance comes next.", field="number")
    return post.number <= allowance.posts


def check_in_time(allowance: Allowance, now_ms: int) -> None:
    """Conflict where the allowance ended too long ago for another post."""
    if allowance.closed_at_ms is not None and now_ms > allowance.closed_at_ms + LATE_MS:
        raise Conflict("This allowance ended more than a day ago; nothing is booked on it any more.")
