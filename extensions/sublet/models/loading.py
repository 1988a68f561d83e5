"""`sublet.models.load`: a model as its own ecosystem has it, out of the store's files."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sublet.errors import NotHere
from sublet.models.licences import why_closed
from sublet.models.mapped import mapped_model
from sublet.models.progress import Progress
from sublet.models.room import check_room
from sublet.models.store import Store, StoredModel

CPU = "cpu"
INSTALL = {"fasttext": "fasttext-predict", "torch": "torch", "transformers": "transformers"}
"""Package of a module, to be installed with pip."""


def load(name: str, *, device: str | None = None, dtype: Any = None) -> Any:
    """A model, ready for use: nothing is downloaded, and on a CPU its weights are the store's own pages in memory,
    which all notebooks of the machine share.

    Gives what the model's ecosystem uses: of `transformers` the model, in evaluation mode, with its `tokenizer` (or
    `processor`, for images and sound) as an attribute; of fastText its model. For other families, take
    `sublet.models.path` and the package that the family calls for.

    `device`: `"cpu"`, `"cuda"`, `"cuda:1"`; without it a GPU if there is one. `dtype`: such as `torch.float32` or
    `"float32"`; without it the one of the files. Another one is a copy of the weights in this notebook's own memory.

    Raises NoSuchModel, LicenceNeeded (with the page to accept it on), DoesNotFit (with the flavors that would do) and
    NotHere.
    """
    store = Store.of()
    model = store.model(name)
    folder = _folder(store, model)
    if model.loader not in _LOADERS:
        raise NotHere(
            f"{name} is loaded by a package of its own, not by sublet. Its files are in {folder}"
            f" (sublet.models.path({name!r})); its example in sublet.models.list() shows how."
        )
    return _LOADERS[model.loader](model, folder, device, dtype)


def path(name: str) -> Path:
    """The folder with a model's files, read-only. Raises as `load`."""
    store = Store.of()
    return _folder(store, store.model(name))


def _folder(store: Store, model: StoredModel) -> Path:
    folder = store.files_of(model)
    if not folder.is_dir():  # gated: it is mounted for those who had accepted its licence
        raise why_closed(model.name, model.title)
    return folder


def _transformers(model: StoredModel, folder: Path, device: str | None, dtype: Any) -> Any:
    torch, transformers = _module("torch"), _module("transformers")
    where = _device(torch, device)
    check_room(model, where, torch)
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    wanted = _dtype(torch, dtype)
    with Progress(model.name, _size(folder)) as progress:
        loaded = None
        if wanted in {None, config.dtype}:
            loaded = mapped_model(folder, config, where, progress.add)
        if loaded is None:
            loaded = _converted(transformers, folder, config, where, wanted)
    for attribute, kind, told_by in (
        ("tokenizer", transformers.AutoTokenizer, "tokenizer_config.json"),
        ("processor", transformers.AutoProcessor, "preprocessor_config.json"),
    ):
        if (folder / told_by).is_file():
            setattr(loaded, attribute, kind.from_pretrained(folder, local_files_only=True))
    return loaded


def _converted(transformers: Any, folder: Path, config: Any, device: str, dtype: Any) -> Any:
    """By transformers' own way, which takes care of whatever has to be changed on the way."""
    kind = getattr(transformers, (config.architectures or ["AutoModel"])[0], transformers.AutoModel)
    loaded = kind.from_pretrained(
        folder, config=config, dtype=dtype or "auto", local_files_only=True, use_safetensors=True
    )
    return loaded.to(device).eval()


def _fasttext(model: StoredModel, folder: Path, device: str | None, dtype: Any) -> Any:
    if device not in {None, CPU}:
        raise ValueError(f"{model.name} runs on the CPU only; leave device out.")
    if dtype is not None:
        raise ValueError(f"{model.name} has no dtype to choose; leave dtype out.")
    weights = next((name for name in model.files if name.endswith((".ftz", ".fasttext"))), None)
    if weights is None:
        raise NotHere(f"{model.name} has no file that fastText reads.")
    return _module("fasttext").load_model(str(folder / weights))


_LOADERS: dict[str, Callable[[StoredModel, Path, str | None, Any], Any]] = {
    "transformers": _transformers,
    "fasttext": _fasttext,
}


def _device(torch: Any, device: str | None) -> str:
    if device is not None:
        return str(torch.device(device))  # RuntimeError names those that torch knows
    return "cuda" if torch.cuda.is_available() else CPU


def _dtype(torch: Any, dtype: Any) -> Any:
    """As torch has it, of a torch dtype, its name, or None."""
    if not isinstance(dtype, str):
        return dtype
    found = getattr(torch, dtype.removeprefix("torch."), None)
    if isinstance(found, torch.dtype):
        return found
    raise ValueError(f"There is no dtype {dtype!r}; say for example 'float32' or 'bfloat16'.")


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.glob("*.safetensors"))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        package = INSTALL[name]
        raise NotHere(f"Loading it needs {package}: {sys.executable} -m pip install {package}") from None
