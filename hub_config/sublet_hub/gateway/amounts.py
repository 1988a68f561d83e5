"""What calls need and use: tokens and money together, as the gateway counts them between two posts."""

from __future__ import annotations

from dataclasses import dataclass

from sublet_hub.domain.amounts import Micros
from sublet_hub.domain.models import Serving, money_of


@dataclass(frozen=True, slots=True)
class Payer:
    """Who calls, and which account pays for it."""

    user: str
    account: str


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens and what they cost, in micro-units."""

    tokens: int = 0
    money: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: Spend) -> Spend:
        return Spend(self.tokens - other.tokens, self.money - other.money)

    def covers(self, other: Spend) -> bool:
        return self.tokens >= other.tokens and self.money >= other.money

    def at_least(self, other: Spend) -> Spend:
        """The greater of both, of each kind."""
        return Spend(max(self.tokens, other.tokens), max(self.money, other.money))

    def at_most(self, other: Spend) -> Spend:
        return Spend(min(self.tokens, other.tokens), min(self.money, other.money))


NOTHING = Spend()


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of one call, as its model's server counted them; `estimated` where it did not and we had to."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False

    def spend(self, serving: Serving) -> Spend:
        return spend_of(serving, self.input_tokens, self.output_tokens)


def spend_of(serving: Serving, input_tokens: int, output_tokens: int) -> Spend:
    """What so many tokens of a model come to."""
    return Spend(input_tokens + output_tokens, int(money_of(serving, input_tokens, output_tokens)))


def output_within(serving: Serving, granted: Spend, input_tokens: int) -> int:
    """The most output tokens that a grant pays for after so many input tokens; may be negative."""
    by_tokens = granted.tokens - input_tokens
    price = serving.output_microunits_per_million_tokens
    if not price:
        return by_tokens
    rest = Micros(granted.money - money_of(serving, input_tokens, 0))
    return min(by_tokens, rest * 1_000_000 // price)


@dataclass(frozen=True, slots=True)
class Use:
    """Calls of one model that have ended, summed."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )


Uses = dict[str, Use]
"""By the model's name."""


def add_use(uses: Uses, model: str, use: Use) -> None:
    uses[model] = uses.get(model, Use()) + use
