"""Whether a file is what its name says. A pickle with another name would run code where a careless program reads it
as what it is, so what a file holds is looked at, and not its name alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from sublet_hub.domain.models import FileFormat, format_of
from sublet_hub.models_store.errors import WrongContentError

SAFETENSORS_HEADER_BYTES_MAX = 100_000_000
"""The format's own limit. Source: https://github.com/huggingface/safetensors#format"""

JSON_BYTES_MAX = 200_000_000
"""The largest tokenizers that there are have some 40 MB."""

FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")
"""Source: https://github.com/facebookresearch/fastText, FASTTEXT_FILEFORMAT_MAGIC_INT32."""

_ARCHIVES = {b"PK\x03\x04": "a zip archive, as PyTorch writes its pickles", b"\x1f\x8b": "compressed with gzip"}
_LOOKED_AT = 64 * 1024
_SENTENCEPIECE = b"\x0a"
"""A protocol buffer whose first field is the list of pieces."""


def check_content(path: Path, name: str) -> None:
    """WrongContentError where the file at `path`, called `name` in its model, is not of the format its name says."""
    kind = format_of(name)
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
    found = _disguise(head)
    why = found if found or kind is None else _CHECKS[kind](path, head)
    if kind is None or why:
        raise WrongContentError(
            f"{name} is refused: {why or 'it is of no format that a model may have'}.",
            hint="Models are safetensors here, never pickles: reading one of those can run anything.",
        )


def _disguise(head: bytes) -> str | None:
    """What a file is that no model's may be. Pickles of protocol 2 and later begin with it: PEP 307, PEP 574."""
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return "it is a pickle"
    return next((f"it is {what}" for magic, what in _ARCHIVES.items() if head.startswith(magic)), None)


def _safetensors(path: Path, head: bytes) -> str | None:
    size = path.stat().st_size
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or not 2 <= length <= min(SAFETENSORS_HEADER_BYTES_MAX, size - 8):
        return "it is no safetensors file: its header's length can't be"
    with path.open("rb") as file:
        file.seek(8)
        header = _parsed(file.read(length))
    if not isinstance(header, dict):
        return "it is no safetensors file: its header is no JSON object"
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        spans = sorted((int(entry["data_offsets"][0]), int(entry["data_offsets"][1])) for entry in tensors)
    except (TypeError, KeyError, IndexError, ValueError):
        return "it is no safetensors file: a tensor has no offsets"
    end = 0
    for begin, stop in spans:
        if begin != end or stop < begin:
            return "it is no safetensors file: there are gaps or overlaps between its tensors"
        end = stop
    return None if end == size - 8 - length else "it is no safetensors file: it is not as long as its header says"


def _fasttext(_path: Path, head: bytes) -> str | None:
    return None if head.startswith(FASTTEXT_MAGIC) else "it is no model of fastText"


def _json(path: Path, _head: bytes) -> str | None:
    if path.stat().st_size > JSON_BYTES_MAX:
        return "it is too large for JSON"
    return None if _parsed(path.read_bytes()) is not None else "it is no JSON"


def _text(path: Path, head: bytes) -> str | None:
    if b"\0" in head:
        return "it is no text"
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(_LOOKED_AT):
                pass
    except UnicodeDecodeError:
        return "it is no text in UTF-8"
    return None


def _tokenizer(path: Path, head: bytes) -> str | None:
    return None if head.startswith(_SENTENCEPIECE) or _text(path, head) is None else "it is no tokenizer"


def _parsed(content: bytes) -> object:
    """What JSON says; None where it is none."""
    try:
        parsed: object = json.loads(content)
    except (ValueError, RecursionError):  # of which a UnicodeDecodeError is one
        return None
    return parsed


_CHECKS: Mapping[FileFormat, Callable[[Path, bytes], str | None]] = {
    FileFormat.SAFETENSORS: _safetensors,
    FileFormat.FASTTEXT: _fasttext,
    FileFormat.JSON: _json,
    FileFormat.TOKENIZER: _tokenizer,
    FileFormat.TEXT: _text,
}
