"""Reading the catalogue of models from `models.toml`. What is wrong is named, with its table and field.

Format: docs/models.md.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from sublet_hub.catalog.model_servers import with_servers
from sublet_hub.catalog.reading import explain, refuse_twins
from sublet_hub.catalog.strict import StrictTable
from sublet_hub.catalog.tables import Name
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.models import (
    NO_MODELS,
    Licence,
    Loader,
    Model,
    ModelCatalogue,
    ModelFile,
    Serving,
    Start,
    Upstream,
    format_of,
    may_hold_pickle,
)
from sublet_hub.settings import Settings, SettingsError

PUBLIC_CATALOGUE = "catalog.json"
"""The store's own file beside its open models, whose name no model may have."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"

ModelName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,94}[a-z0-9])?$")]
"""Lower case, digits, dots and dashes: it is a folder's name, a part of addresses and an OpenAI model id."""
Revision = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
FilePath = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART}){{0,7}}$", max_length=255)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2000)]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,99}$")]
Argument = Annotated[str, Field(min_length=1, max_length=1000)]
Title = Annotated[str, Field(min_length=1, max_length=100)]
Text = Annotated[str, Field(max_length=4000)]
Tokens = Annotated[int, Field(ge=1, le=10**8, strict=True)]
Price = Annotated[int, Field(ge=0, le=10**12, strict=True)]
Bytes = Annotated[int, Field(ge=0, le=10**15, strict=True)]


class LicenceTable(StrictTable):
    """One of `[[licences]]`."""

    name: ModelName
    title: Title
    version: Annotated[str, Field(min_length=1, max_length=60)]
    url: Url
    gated: bool = False
    text_file: FilePath | None = None

    def to_domain(self) -> Licence:
        return Licence(self.name, self.title, self.version, self.url, self.gated, self.text_file)


class FileTable(StrictTable):
    """One of a model's `files`."""

    path: FilePath
    size: Annotated[int, Field(ge=1, le=10**13, strict=True)]
    sha256: Sha256

    @model_validator(mode="after")
    def _of_a_format_that_runs_nothing(self) -> Self:
        if may_hold_pickle(self.path):
            raise ValueError(f"{self.path} may be a pickle, which runs code when it is read; take safetensors")
        if format_of(self.path) is None:
            raise ValueError(f"{self.path} is of no format that a model may have here (docs/models.md lists them)")
        return self


class UpstreamTable(StrictTable):
    """One of a model's `serving.upstreams`."""

    url: Url | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    api_key_variable: Variable | None = None
    start: Start | None = None
    flavor: Name | None = None
    tier: Tier | None = None
    arguments: Annotated[tuple[Argument, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _is_there_or_started(self) -> Self:
        if (self.url is None) == (self.start is None):
            raise ValueError("give either url, of a server that is there, or start, for one that we start")
        if self.start is not None and self.api_key_variable is not None:
            raise ValueError("api_key_variable goes with url only")
        if self.start is None and self.flavor is not None:
            raise ValueError("flavor goes with start only: a server that is there is no lease of ours")
        if self.flavor is None and self.tier is not None:
            raise ValueError("tier goes with flavor only")
        if self.start == "vllm" and self.flavor is None:
            raise ValueError("vllm needs a flavor: it is started on leased GPUs only")
        if self.arguments and self.start != "vllm":
            raise ValueError('arguments go with start = "vllm" only')
        return self

    def to_domain(self, name: str) -> Upstream:
        url = None if self.url is None else self.url.rstrip("/")
        tier = self.tier or Tier.SURPLUS
        return Upstream(url, self.model or name, self.api_key_variable, self.start, self.flavor, tier, self.arguments)


class ServingTable(StrictTable):
    """The table `[models.serving]`."""

    upstreams: Annotated[tuple[UpstreamTable, ...], Field(max_length=64)] = ()
    context_tokens: Tokens
    output_tokens_max: Tokens
    input_microunits_per_million_tokens: Price = 0
    output_microunits_per_million_tokens: Price = 0
    concurrency: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 16
    calls_per_minute: Annotated[int, Field(ge=1, le=10**6, strict=True)] | None = None

    @model_validator(mode="after")
    def _output_within_context(self) -> Self:
        if self.output_tokens_max > self.context_tokens:
            raise ValueError("output_tokens_max is a part of context_tokens and can't be more")
        return self

    def to_domain(self, name: str) -> Serving:
        return Serving(
            tuple(each.to_domain(name) for each in self.upstreams),
            self.context_tokens,
            self.output_tokens_max,
            self.input_microunits_per_million_tokens,
            self.output_microunits_per_million_tokens,
            self.concurrency,
            self.calls_per_minute,
        )


class ModelTable(StrictTable):
    """One of `[[models]]`."""

    name: ModelName
    title: Title
    family: Title
    task: Title
    description: Text = ""
    repository: Annotated[str, Field(pattern=rf"^({_PART}/)?{_PART}$", max_length=200)] | None = None
    revision: Revision = "main"
    parameters: Annotated[int, Field(ge=0, le=10**15, strict=True)] = 0
    dtype: Annotated[str, Field(max_length=20)] = ""
    memory_bytes: Bytes = 0
    loader: Loader
    licence: ModelName
    files: Annotated[tuple[FileTable, ...], Field(max_length=1000)] = ()
    serving: ServingTable | None = None
    example: Text = ""

    @model_validator(mode="after")
    def _can_be_had_somehow(self) -> Self:
        if self.name == PUBLIC_CATALOGUE:
            raise ValueError(f"no model may be called {PUBLIC_CATALOGUE}")
        if not self.files and self.serving is None:
            raise ValueError("give files, serving or both: as it is, nobody could use it")
        return self

    def to_domain(self, licence: Licence) -> Model:
        return Model(
            name=self.name,
            title=self.title,
            family=self.family,
            task=self.task,
            description=self.description.strip(),
            licence=licence,
            loader=self.loader,
            repository=self.repository or "",
            revision=self.revision,
            parameters=self.parameters,
            dtype=self.dtype,
            memory_bytes=self.memory_bytes,
            files=tuple(ModelFile(file.path, file.size, file.sha256) for file in self.files),
            serving=None if self.serving is None else self.serving.to_domain(self.name),
            example=self.example.strip(),
        )


class ModelTables(StrictTable):
    """The whole file."""

    licences: tuple[LicenceTable, ...] = ()
    models: tuple[ModelTable, ...] = ()


def load_models(settings: Settings) -> ModelCatalogue:
    """The models of a platform: none where there is no `models.toml` and no setting names one. SettingsError names
    the table and field that is wrong."""
    path = settings.models_toml
    if settings.models_file is None and not path.exists():
        return NO_MODELS
    return with_servers(read_models(path), settings)


def read_models(path: Path) -> ModelCatalogue:
    """The models of a catalogue file, as it has them; SettingsError as above."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"The catalogue of models can't be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    try:
        tables = ModelTables.model_validate(content)
    except ValidationError as error:
        raise SettingsError(explain(error, path)) from None
    return _build(tables, path)


def _build(tables: ModelTables, path: Path) -> ModelCatalogue:
    refuse_twins("licence", [table.name for table in tables.licences])
    refuse_twins("model", [table.name for table in tables.models])
    licences = {table.name: table.to_domain() for table in tables.licences}
    for licence in licences.values():
        if licence.text_file is not None and not (path.parent / licence.text_file).is_file():
            raise SettingsError(f"licences.{licence.name}: there is no file {path.parent / licence.text_file}.")
    for table in tables.models:
        refuse_twins(f"file of the model {table.name}", [file.path for file in table.files])
        if table.licence not in licences:
            known = ", ".join(sorted(licences)) or "none"
            raise SettingsError(
                f"models.{table.name} in {path}: there is no licence {table.licence!r}. Licences: {known}."
            )
    return ModelCatalogue({table.name: table.to_domain(licences[table.licence]) for table in tables.models}, licences)
