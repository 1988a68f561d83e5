"""The beginning of a model's entry in the catalogue, from its files: what nobody wants to type."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from sublet_hub.domain.models import FileFormat, ModelFile, format_of, may_hold_pickle
from sublet_hub.models_store.errors import StoreError, TransferError
from sublet_hub.models_store.sources import CHUNK_BYTES, hub_source
from sublet_hub.models_store.transfer import Progress, sha256_of

_SMALL_BYTES = 64 * 2**20
"""What a hub keeps beside a repository's large files has no SHA-256 there, and is small."""

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


@dataclass(frozen=True, slots=True)
class Said:
    """What only a person can say of a model; what is empty is left for them to fill in."""

    name: str = ""
    title: str = ""
    family: str = ""
    task: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """The files at a source, those that no model may have, and which revision of what they are."""

    files: tuple[ModelFile, ...]
    left_out: tuple[str, ...]
    name: str
    revision: str
    repository: str | None = None


def described(
    source: str, revision: str, hub_url: str, token: str | None, progress: Progress, said: Said | None = None
) -> str:
    """TOML for a folder, or for a repository of the hub. TransferError or StoreError where it can't be looked at."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        found = _in_folder(folder, revision, progress)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers=headers) as client:
            found = _on_hub(client, source, revision, hub_url.rstrip("/"), hub_source(hub_url, token).hint)
    else:
        raise StoreError(f"{source} is neither a folder nor a repository as the hub names them.")
    if not found.files:
        raise StoreError("There is no file of a format that a model may have.")
    return _toml(found, said or Said())


def _in_folder(folder: Path, revision: str, progress: Progress) -> _Found:
    paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    wanted = {name: path for name, path in paths.items() if _fits(name)}
    progress.begin(folder.name, sum(path.stat().st_size for path in wanted.values()))
    files = [ModelFile(name, path.stat().st_size, sha256_of(path, progress)) for name, path in wanted.items()]
    return _Found(tuple(files), _left_out(paths), folder.name, revision)


def _on_hub(client: httpx.Client, repository: str, revision: str, hub_url: str, hint: str | None) -> _Found:
    """What a repository has at the commit that a revision is. Source: https://huggingface.co/docs/hub/api"""
    url = f"{hub_url}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    files = []
    try:
        said = json.loads(_got(client, url, hint))
        commit, entries = str(said["sha"]), {str(each["rfilename"]): each.get("lfs") for each in said["siblings"]}
        for name, lfs in entries.items():
            if not _fits(name):
                continue
            if lfs:
                files.append(ModelFile(name, int(lfs["size"]), str(lfs["sha256"])))
            else:
                content = _got(client, f"{hub_url}/{repository}/resolve/{commit}/{quote(name)}", hint)
                files.append(ModelFile(name, len(content), hashlib.sha256(content).hexdigest()))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TransferError(f"{url} answers what a hub doesn't.") from None
    return _Found(tuple(files), _left_out(entries), repository.partition("/")[2], commit, repository)


def _got(client: httpx.Client, url: str, hint: str | None) -> bytes:
    content = bytearray()
    try:
        with client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise TransferError(f"{url} answers {answer.status_code} {answer.reason_phrase}.", hint=hint)
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                content += chunk
                if len(content) > _SMALL_BYTES:
                    raise TransferError(f"{url} is larger than such a file can be.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TransferError(f"{url}: {str(error) or type(error).__name__}.") from None
    return bytes(content)


def _fits(name: str) -> bool:
    """Whether it is of a format that a model may have, and no hidden file; what is for people only is left out."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and format_of(name) is not None and not name.lower().endswith("readme.md")


def _left_out(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if may_hold_pickle(name)))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")[:96] or "model"


def _toml(found: _Found, said: Said) -> str:
    files = found.files
    weights = [file for file in files if format_of(file.path) is FileFormat.SAFETENSORS]
    fasttext = any(format_of(file.path) is FileFormat.FASTTEXT for file in files)
    loader = "fasttext" if fasttext else "transformers" if any(f.path == "config.json" for f in files) else "files"
    memory = sum(file.size for file in weights or files) * 6 // 5
    listed = "".join(f'  {{ path = {json.dumps(f.path)}, size = {f.size}, sha256 = "{f.sha256}" }},\n' for f in files)
    name = said.name or _slug(found.name)
    lines = [
        *(f"# left out, since it may be a pickle: {path}" for path in found.left_out),
        "[[models]]",
        f"name = {json.dumps(name)}",
        f"title = {json.dumps(said.title or name)}",
        f"family = {json.dumps(said.family)}{'' if said.family else '  # such as Llama, SAM, DINO'}",
        f"task = {json.dumps(said.task)}{'' if said.task else '  # such as text-generation'}",
        f"licence = {json.dumps(said.licence)}{'' if said.licence else '  # the name of one of [[licences]]'}",
        *([] if found.repository is None else [f"repository = {json.dumps(found.repository)}"]),
        f"revision = {json.dumps(found.revision)}",
        f'loader = "{loader}"',
        f"memory_bytes = {memory}  # the weights and a fifth more; measure it",
    ]
    return "\n" + "\n".join(lines) + f"\nfiles = [\n{listed}]\n"
