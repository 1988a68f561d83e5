"""The models that a platform has: what each is, its files, its licence, and how it is served at what price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from sublet_hub.domain.amounts import Micros
from sublet_hub.domain.errors import NotFound
from sublet_hub.domain.flavors import Tier

TOKENS_PER_PRICE = 1_000_000
"""Prices are per so many tokens."""

Loader = Literal["transformers", "fasttext", "files"]
"""What loads a model in a notebook; `files`: its own package, by the path of its files."""

Start = Literal["transformers", "fasttext", "vllm"]
"""The kind of server that is started on demand. vLLM's is one only in a pod that is a lease."""


class FileFormat(StrEnum):
    """What a model's file may be. All are data: none of them runs code when it is read."""

    SAFETENSORS = "safetensors"
    FASTTEXT = "fasttext"
    JSON = "json"
    TOKENIZER = "tokenizer"
    TEXT = "text"


FORMAT_OF_SUFFIX: Mapping[str, FileFormat] = {
    "safetensors": FileFormat.SAFETENSORS,
    "ftz": FileFormat.FASTTEXT,
    "json": FileFormat.JSON,
    "model": FileFormat.TOKENIZER,
    "tiktoken": FileFormat.TOKENIZER,
    "spm": FileFormat.TOKENIZER,
    "txt": FileFormat.TEXT,
    "md": FileFormat.TEXT,
    "jinja": FileFormat.TEXT,
    "yaml": FileFormat.TEXT,
}
TEXTS_WITHOUT_SUFFIX = frozenset({"LICENSE", "LICENCE", "NOTICE", "README"})

PICKLE_SUFFIXES = frozenset(
    {"bin", "pt", "pth", "pkl", "pickle", "ckpt", "joblib", "npy", "npz", "p", "tar", "zip", "h5", "hdf5", "keras"}
)
"""Names of files that hold, or may hold, a pickle or other code, so that reading one can run anything."""


def format_of(path: str) -> FileFormat | None:
    """The format that a file's name says; None for one that no model may have."""
    name = path.rpartition("/")[2]
    if name in TEXTS_WITHOUT_SUFFIX:
        return FileFormat.TEXT
    stem, dot, suffix = name.rpartition(".")
    return FORMAT_OF_SUFFIX.get(suffix.lower()) if stem and dot else None


def may_hold_pickle(path: str) -> bool:
    """Whether a file's name says that it may be a pickle."""
    return path.rpartition(".")[2].lower() in PICKLE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of one or more models. `gated`: they must be accepted, in this very version, before first use.

    `text_file` is the name of a file beside the catalogue that holds the whole text, to be shown.
    """

    name: str
    title: str
    version: str
    url: str
    gated: bool = False
    text_file: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model: its path within the model's folder, its size in bytes, its SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server that speaks OpenAI's API: its address up to and with `/v1`, and what the model is called there.

    `api_key_variable` names the environment variable of the gateway that holds its key. With `start` there is no such
    server yet: the gateway starts it when it is first needed, and `url` is None. With `flavor` too it
    runs on GPUs of that flavor's pool, as a lease of the tier; without it, it is not metered. `arguments` are more of
    vLLM's own.
    """

    url: str | None
    model: str
    api_key_variable: str | None = None
    start: Start | None = None
    flavor: str | None = None
    tier: Tier = Tier.SURPLUS
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """How a model is called. Prices are micro-units per million tokens; `concurrency` is calls at once, over all
    upstreams; `calls_per_minute` what one account may make of it, in each gateway process. None: as of all models."""

    upstreams: tuple[Upstream, ...]
    context_tokens: int
    output_tokens_max: int
    input_microunits_per_million_tokens: int = 0
    output_microunits_per_million_tokens: int = 0
    concurrency: int = 16
    calls_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the catalogue. `memory_bytes` is what it needs of a GPU's (or a CPU's) memory to run.

    `files` empty: it is served only, and nothing of it lies in the store. `serving` None: it is on disk only.
    """

    name: str
    title: str
    family: str
    task: str
    description: str
    licence: Licence
    loader: Loader
    repository: str = ""
    revision: str = "main"
    parameters: int = 0
    dtype: str = ""
    memory_bytes: int = 0
    files: tuple[ModelFile, ...] = ()
    serving: Serving | None = None
    example: str = ""

    @property
    def gated(self) -> bool:
        """Whether its licence must be accepted before it may be read or called."""
        return self.licence.gated

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> str:
        """Where its files lie in the store: relative, with slashes."""
        return f"{'gated' if self.gated else 'open'}/{self.name}/{self.revision}"


@dataclass(frozen=True, slots=True)
class ModelCatalogue:
    """All models and licences by their names, in the order of the file."""

    models: Mapping[str, Model]
    licences: Mapping[str, Licence]

    def model(self, name: str) -> Model:
        """The model of that name; NotFound names those there are."""
        try:
            return self.models[name]
        except KeyError:
            raise NotFound(f"There is no model {name!r}. Models: {_listed(self.models)}.", field="model") from None

    def licence(self, name: str) -> Licence:
        """The licence of that name; NotFound names those there are."""
        try:
            return self.licences[name]
        except KeyError:
            known = _listed(self.licences)
            raise NotFound(f"There is no licence {name!r}. Licences: {known}.", field="licence") from None

    @property
    def served(self) -> tuple[Model, ...]:
        """Those that can be called."""
        return tuple(model for model in self.models.values() if model.serving is not None)

    @property
    def leased(self) -> tuple[tuple[Model, Upstream], ...]:
        """The servers that are to run as leases, each with its model."""
        return tuple(
            (model, upstream)
            for model in self.served
            if model.serving is not None
            for upstream in model.serving.upstreams
            if upstream.flavor is not None
        )

    @property
    def gated_names(self) -> tuple[str, ...]:
        """Names of those in the store whose licence must be accepted."""
        return tuple(model.name for model in self.models.values() if model.gated and model.files)


NO_MODELS = ModelCatalogue({}, {})


def money_of(serving: Serving, input_tokens: int, output_tokens: int) -> Micros:
    """Price of so many tokens, each kind rounded up to a micro-unit."""
    return Micros(
        _rounded_up(input_tokens * serving.input_microunits_per_million_tokens)
        + _rounded_up(output_tokens * serving.output_microunits_per_million_tokens)
    )


def _rounded_up(millionths: int) -> int:
    return -(-millionths // TOKENS_PER_PRICE)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"
