"""Models, licences, acceptances and the use of models, as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictStr

from sublet_hub.api.models.fields import AccountName, Answer, Moment, Name, Request


class LicenceState(Answer):
    """A model's licence, and whether the asker may use what is under it."""

    name: str
    title: str
    version: str
    url: str
    gated: Annotated[bool, Field(description="Whether it must be accepted before first use.")]
    accepted: Annotated[bool, Field(description="Whether the asker may use it: it is accepted, or needs not be.")]
    accepted_by: Annotated[
        list[str],
        Field(description="Which of the asker's accounts accepted this version. A group's counts where it pays."),
    ]


class LicenceDetail(LicenceState):
    text: Annotated[str | None, Field(description="The whole text; null where only the address is known.")]


class ServedModel(Answer):
    """How a model is called through the gateway, and for what."""

    context_tokens: int
    output_tokens_max: int
    input_microunits_per_million_tokens: int
    output_microunits_per_million_tokens: int
    currency: str


class ModelSummary(Answer):
    """A model of the catalogue, as the asker may have it."""

    name: str
    title: str
    family: str
    task: str
    description: str
    repository: Annotated[str, Field(description="Its name on the hub that it is from, such as `org/name`.")]
    revision: str
    parameters: int
    dtype: str
    memory_bytes: Annotated[int, Field(description="What it needs of a GPU's memory, or of the machine's.")]
    size_bytes: Annotated[int, Field(description="Of its files in the store; 0: it is served only.")]
    loader: Literal["transformers", "fasttext", "files"]
    formats: list[str]
    on_disk: Annotated[bool, Field(description="Whether servers have its files.")]
    served: Annotated[ServedModel | None, Field(description="Null: it can't be called.")]
    flavors: Annotated[list[str], Field(description="Names of the flavors whose memory it fits into.")]
    licence: LicenceState
    example: Annotated[str, Field(description="A cell to begin with.")]


class ModelDetail(ModelSummary):
    licence: LicenceDetail


class AcceptanceRequest(Request):
    """That a licence is accepted: in the version that was shown, for oneself or for a group."""

    licence: Name
    version: Name
    account: Annotated[
        AccountName | None, Field(description="`group:NAME`, by the group's admin; oneself where it is left out.")
    ] = None


class AcceptanceModel(Answer):
    """An acceptance. `number` is that of its audit record."""

    number: int
    account: str
    licence: str
    version: str
    accepted_by: str
    at: Moment


class ModelDay(Answer):
    """What an account used of a model on a day."""

    date: str
    model: StrictStr
    calls: int
    input_tokens: int
    output_tokens: int
    cost_microunits: int


class ModelUseModel(Answer):
    """An account's use of models by day, in the time zone of its quota, oldest day first."""

    account: str
    currency: str
    time_zone: str
    since: Moment
    days: list[ModelDay]
    calls: int
    input_tokens: int
    output_tokens: int
    cost_microunits: int
