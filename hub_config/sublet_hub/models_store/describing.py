"""The beginning of a model's entry in the catalogue, from its files: what nobody wants to type."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx

from sublet_hub.domain.models import FileFormat, ModelFile, format_of
from sublet_hub.models_store.errors import StoreError, TransferError
from sublet_hub.models_store.sources import CHUNK_BYTES, hub_source
from sublet_hub.models_store.transfer import Progress, sha256_of

_SMALL_BYTES = 64 * 2**20
"""What a hub keeps beside a repository's large files has no SHA-256 there, and is small."""

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


def described(source: str, revision: str, hub_url: str, token: str | None, progress: Progress) -> str:
    """TOML for a folder, or for a repository of the hub. TransferError or StoreError where it can't be looked at."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _toml(_slug(folder.name), None, revision, list(_of_folder(folder, progress)))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise StoreError(f"{source} is neither a folder nor a repository as the hub names them.")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers=headers) as client:
        commit, files = _of_hub(client, source, revision, hub_url.rstrip("/"), hub_source(hub_url, token).hint)
    return _toml(_slug(source.partition("/")[2]), source, commit, files)


def _of_folder(folder: Path, progress: Progress) -> Iterator[ModelFile]:
    paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    wanted = {name: path for name, path in paths.items() if _fits(name)}
    progress.begin(folder.name, sum(path.stat().st_size for path in wanted.values()))
    for name, path in wanted.items():
        yield ModelFile(name, path.stat().st_size, sha256_of(path, progress))


def _of_hub(
    client: httpx.Client, repository: str, revision: str, hub_url: str, hint: str | None
) -> tuple[str, list[ModelFile]]:
    """The commit that a revision is, and its files. Source: https://huggingface.co/docs/hub/api, `siblings`."""
    url = f"{hub_url}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    said = json.loads(_got(client, url, hint))
    try:
        commit = str(said["sha"])
        files = []
        for each in said["siblings"]:
            name = str(each["rfilename"])
            if not _fits(name):
                continue
            if each.get("lfs"):
                files.append(ModelFile(name, int(each["lfs"]["size"]), str(each["lfs"]["sha256"])))
            else:
                content = _got(client, f"{hub_url}/{repository}/resolve/{commit}/{quote(name)}", hint)
                files.append(ModelFile(name, len(content), hashlib.sha256(content).hexdigest()))
    except (KeyError, TypeError, ValueError):
        raise TransferError(f"{url} answers what a hub doesn't.") from None
    return commit, files


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


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")[:96] or "model"


def _toml(name: str, repository: str | None, revision: str, files: list[ModelFile]) -> str:
    if not files:
        raise StoreError("There is no file of a format that a model may have.")
    weights = [file for file in files if format_of(file.path) is FileFormat.SAFETENSORS]
    fasttext = any(format_of(file.path) is FileFormat.FASTTEXT for file in files)
    loader = "fasttext" if fasttext else "transformers" if any(f.path == "config.json" for f in files) else "files"
    memory = sum(file.size for file in weights or files) * 6 // 5
    lines = "".join(f'  {{ path = {json.dumps(f.path)}, size = {f.size}, sha256 = "{f.sha256}" }},\n' for f in files)
    from_hub = "" if repository is None else f"repository = {json.dumps(repository)}\n"
    return (
        f"\n[[models]]\nname = {json.dumps(name)}\ntitle = {json.dumps(name)}\n"
        'family = ""        # such as Llama, SAM, DINO\n'
        'task = ""          # such as text-generation\n'
        'licence = ""       # the name of one of [[licences]]\n'
        f'{from_hub}revision = {json.dumps(revision)}\nloader = "{loader}"\n'
        f"memory_bytes = {memory}  # the weights and a fifth more; measure it\n"
        f"files = [\n{lines}]\n"
    )
