"""Callers of models, and allowances of tokens and money, as JSON: what the gateway and the api say to each other."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from sublet_hub.api.hub_client import LONGEST_TOKEN
from sublet_hub.api.models.fields import AccountName, Answer, Count, Moment, Name, Request, WhatName

LONGEST_SECONDS = 3600
MOST_USES = 200
"""Models in one post."""

Tokens = Annotated[StrictInt, Field(ge=1, le=10**9)]
UsedTokens = Annotated[StrictInt, Field(ge=0, le=10**10)]
Lasting = Annotated[StrictInt, Field(ge=1, le=LONGEST_SECONDS, description="How long it is held, from now.")]
ModelName = Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,94}$")]


class CallerRequest(Request):
    """Whose a token is that a caller showed."""

    token: Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_TOKEN, json_schema_extra={"writeOnly": True})]


class CallableModel(Answer):
    """A model that is served. `accepted`: its licence is accepted for these calls, or needs not be."""

    name: str
    accepted: bool


class CallerModel(Answer):
    """Who calls, and who pays: the account of the lease whose server shows its token, else the user's own."""

    user: str
    account: str
    lease_id: Annotated[str | None, Field(description="Of the server whose token it is; null: a user's own token.")]
    models: list[CallableModel]
    valid_seconds: Annotated[int, Field(description="How long this may be believed.")]


class AllowanceRequestModel(Request):
    """What to hold: `tokens` and `money_microunits`, or less where a limit leaves less, but at least the minima."""

    user: Name
    account: AccountName
    tokens: Tokens
    tokens_min: Tokens
    money_microunits: Count = 0
    money_min_microunits: Count = 0
    seconds: Lasting

    @model_validator(mode="after")
    def _minima_are_no_more(self) -> Self:
        if self.tokens_min > self.tokens or self.money_min_microunits > self.money_microunits:
            raise ValueError("what is needed at least is more than what is asked for")
        return self


class UseModel(Request):
    """Calls of one model since the last post. Counts only."""

    model: ModelName
    calls: Annotated[StrictInt, Field(ge=0, le=10**9)]
    input_tokens: UsedTokens
    output_tokens: UsedTokens


class RenewalModel(Request):
    """What is to be held after the post: more is held where limits leave it, what is too much is given back."""

    tokens: Annotated[StrictInt, Field(ge=0, le=10**9)]
    money_microunits: Count = 0
    seconds: Lasting


class AllowancePost(Request):
    """What was used since the post before. The same number again changes nothing."""

    number: Annotated[
        StrictInt, Field(ge=1, le=2**53, description="1 for the first post of the allowance, then 2, …")
    ]
    uses: Annotated[tuple[UseModel, ...], Field(max_length=MOST_USES)] = ()
    renew: RenewalModel | None = None
    release: Annotated[StrictBool, Field(description="Give back what is still held: nothing draws on it now.")] = (
        False
    )

    @model_validator(mode="after")
    def _renewed_or_released(self) -> Self:
        if self.release and self.renew is not None:
            raise ValueError("an allowance is renewed or released, not both")
        return self


class AllowanceLimit(Answer):
    """A limit that the calls count towards. `left` is what nobody has used or holds, this allowance included."""

    subject: str
    what: WhatName
    limit: int
    left: int
    window: str
    resets_at: Moment | None


class AllowanceModel(Answer):
    """An allowance as it stands. `tokens` and `money_microunits` are what is still held."""

    id: str
    user: str
    account: str
    tokens: int
    money_microunits: int
    expires_at: Moment
    open: Annotated[bool, Field(description="False once it was released or has expired: then nothing is held.")]
    posts: Annotated[int, Field(description="Number of the last post that was booked; 0 before the first.")]
    limits: list[AllowanceLimit]
