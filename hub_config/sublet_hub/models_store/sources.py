"""Where models come from: a folder, an HTTP server, or a hub. Each gives one file's bytes, from an offset on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote

import httpx

from sublet_hub.domain.models import Model, ModelFile
from sublet_hub.models_store.errors import TransferError

HUB = "hub"
CHUNK_BYTES = 1024 * 1024
REDIRECTS_MAX = 5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Flow:
    """A file's bytes from `offset` on: what was asked for, or 0 where the source can't begin in the middle."""

    offset: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """Gives the files of models. Raises TransferError, also while the chunks are taken."""

    def describe(self, model: Model) -> str:
        """Where the model's files come from, for people."""

    def open(self, model: Model, file: ModelFile, offset: int) -> AbstractContextManager[Flow]:
        """A file's bytes, from `offset` on if that can be had."""


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder that holds a model's files as the catalogue names them; with placeholders, one for each model."""

    pattern: str

    def describe(self, model: Model) -> str:
        return str(self._folder(model))

    @contextmanager
    def open(self, model: Model, file: ModelFile, offset: int) -> Iterator[Flow]:
        path = self._folder(model) / file.path
        try:
            with path.open("rb") as opened:
                size = opened.seek(0, os.SEEK_END)
                if size != file.size:
                    raise TransferError(f"{path} has {size} bytes; the catalogue says {file.size}.")
                opened.seek(offset)
                yield Flow(offset, _chunks(opened, path))
        except (FileNotFoundError, NotADirectoryError):
            raise TransferError(f"There is no file {path}.") from None
        except (PermissionError, IsADirectoryError) as error:
            raise TransferError(f"{path} can't be read: {error.strerror}.") from None

    def _folder(self, model: Model) -> Path:
        return Path(filled(self.pattern, model)).expanduser().absolute()


def _chunks(opened: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise TransferError(f"{path} can't be read: {error.strerror}.") from None


@dataclass(frozen=True, slots=True)
class HttpSource:
    """An HTTP server with a model's files below an address; with placeholders in it, an address for each model.

    `headers` go to that server alone: what it redirects to on other hosts doesn't get them.
    """

    pattern: str
    headers: tuple[tuple[str, str], ...] = ()
    hint: str | None = None

    def describe(self, model: Model) -> str:
        return filled(self.pattern, model, quoted=True)

    @contextmanager
    def open(self, model: Model, file: ModelFile, offset: int) -> Iterator[Flow]:
        url = f"{self.describe(model).rstrip('/')}/{quote(file.path)}"
        # Else what comes would be counted otherwise than the file's bytes are.
        headers = {**dict(self.headers), "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            with (
                httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=REDIRECTS_MAX) as client,
                client.stream("GET", url, headers=headers) as answer,
            ):
                # In chunks as they come: of a size of ours, the last would be lost where a transfer breaks.
                yield Flow(self._begins_at(answer, file, offset), answer.iter_raw())
        except httpx.TooManyRedirects:
            raise TransferError(f"{url} is redirected too often.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            again = isinstance(error, httpx.TransportError)
            raise TransferError(f"{url}: {str(error) or type(error).__name__}.", again=again) from None

    def _begins_at(self, answer: httpx.Response, file: ModelFile, offset: int) -> int:
        """Where the body begins. One that can't be of this file is refused before it is fetched."""
        status = answer.status_code
        if status == 206:
            begin, total = _content_range(answer.headers.get("Content-Range", ""))
            if begin != offset or total not in {None, file.size}:
                raise TransferError(
                    f"{answer.url}: asked for what follows byte {offset} of {file.size}, the server sent"
                    f" {answer.headers.get('Content-Range') or 'something else'}."
                )
            return offset
        if status == 416:  # what we have is more than there is now: it can't be the same file
            raise TransferError(f"{answer.url} has not as many bytes as the catalogue says.", again=False)
        if status != 200:
            raise self._refused(answer)
        length = answer.headers.get("Content-Length")
        if length is not None and length.isdecimal() and int(length) != file.size:
            raise TransferError(f"{answer.url} has {int(length)} bytes; the catalogue says {file.size}.")
        return 0

    def _refused(self, answer: httpx.Response) -> TransferError:
        said = f"{answer.url} answers {answer.status_code} {answer.reason_phrase}."
        hint = self.hint if answer.status_code in {401, 403, 404} else None
        return TransferError(said, hint=hint, again=answer.status_code in _WORTH_ANOTHER_TRY)


def hub_source(hub_url: str, token: str | None) -> HttpSource:
    """Files of the catalogue's `repository` at its `revision`, as the Hugging Face Hub and its mirrors serve them.

    Source: https://huggingface.co/docs/huggingface_hub/package_reference/file_download, `hf_hub_url`.
    """
    if token:
        hint = "Has the account of HF_TOKEN accepted the model's licence on the hub? Is its repository right?"
    else:
        hint = "If the model is gated on the hub, accept its licence there, and set HF_TOKEN to that account's token."
    headers = (("Authorization", f"Bearer {token}"),) if token else ()
    return HttpSource(f"{hub_url.rstrip('/')}/{{repository}}/resolve/{{revision}}", headers, hint)


def source_from(text: str, hub_url: str, token: str | None) -> Source:
    """The source that an administrator named: `hub`, an address, or a folder."""
    if text == HUB:
        return hub_source(hub_url, token)
    if text.startswith(("http://", "https://")):
        return HttpSource(text)
    return FolderSource(text)


def at_hand(folder: Path | None, model: Model) -> FolderSource | None:
    """A model's files where they came with the platform itself; None where they didn't, or are not those that the
    catalogue means."""
    if folder is None:
        return None
    beside = folder / model.name
    sizes = {path: path.stat().st_size for path in beside.rglob("*") if path.is_file()}
    if any(sizes.get(beside / file.path) != file.size for file in model.files):
        return None
    return FolderSource(str(beside))


def filled(pattern: str, model: Model, *, quoted: bool = False) -> str:
    """A pattern with `{name}`, `{revision}` and `{repository}` filled in."""
    if "{repository}" in pattern and not model.repository:
        raise TransferError(
            f"The catalogue names no repository for {model.name}, so it can't be fetched from there.",
            hint="Give --from with a folder or an address.",
        )
    for key, value in (("name", model.name), ("revision", model.revision), ("repository", model.repository)):
        pattern = pattern.replace(f"{{{key}}}", quote(value) if quoted else value)
    return pattern


def _content_range(text: str) -> tuple[int | None, int | None]:
    """The first byte and the whole size of `bytes 5-9/10`; None of what isn't said. Source: RFC 9110, 14.4."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    begin = int(first) if unit == "bytes" and first.isdecimal() else None
    return begin, int(total) if total.isdecimal() else None
