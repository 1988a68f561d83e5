"""A transformers model whose weights are the store's own pages: mapped, so that ten notebooks share one copy.

`from_pretrained` of transformers maps too where nothing has to be converted, but goes through every weight by
itself; here the whole state is put in at once. What it makes is the same: where anything would differ (a weight that
is missing, left over, or of another dtype or shape), None is returned, and `from_pretrained` is the way.

The pages are mapped privately: a notebook that trains the model writes to copies of its own, never to the store.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WEIGHTS = "*.safetensors"


def mapped_model(folder: Path, config: Any, device: str, told: Any) -> Any | None:
    """The model in a folder, in evaluation mode, or None where it must be converted on the way.

    `told(bytes)` is called as weights come in. On `cpu` nothing is read before it is used, and the kernel is asked to
    fetch it meanwhile; for another device the weights are copied there, straight from the mapped file.
    """
    transformers: Any = importlib.import_module("transformers")
    kind = getattr(transformers, (getattr(config, "architectures", None) or [""])[0], None)
    files = sorted(folder.glob(WEIGHTS))
    if kind is None or not files or getattr(config, "quantization_config", None):
        return None
    model = _without_weights(kind, config)
    wanted = _wanted(model)
    state = dict(_tensors(files, device, told))
    if not _fits(wanted, state, set(_tied(model))):
        return None
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    model.to(device)  # buffers that no file has
    if any(each.is_meta for each in (*model.parameters(), *model.buffers())):
        return None
    _generation(model, folder)
    return model.eval()


def _without_weights(kind: Any, config: Any) -> Any:
    """The model's modules, with parameters that have a shape and no memory. Its buffers are real."""
    initialization: Any = importlib.import_module("transformers.initialization")
    with _on_meta(), initialization.no_init_weights(), _dtype(config.dtype):
        return kind(config)


@contextmanager
def _on_meta() -> Iterator[None]:
    """Let modules that this thread makes have no memory for their parameters, as `accelerate.init_empty_weights`
    does it; that package would bring a PyTorch of its own along. `torch.device("meta")` would take the buffers too,
    which no file has."""
    torch: Any = importlib.import_module("torch")
    module = torch.nn.Module
    register = module.register_parameter
    thread = threading.get_ident()

    def register_empty(self: Any, name: str, parameter: Any) -> None:
        if parameter is not None and not parameter.is_meta and threading.get_ident() == thread:
            empty = parameter.detach().to("meta")
            parameter = type(parameter)(empty, requires_grad=parameter.requires_grad)
        register(self, name, parameter)

    module.register_parameter = register_empty
    try:
        yield
    finally:
        module.register_parameter = register


@contextmanager
def _dtype(dtype: Any) -> Iterator[None]:
    torch: Any = importlib.import_module("torch")
    before = torch.get_default_dtype()
    if dtype is not None:
        torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _wanted(model: Any) -> Mapping[str, tuple[Any, Any]]:
    """Shape and dtype of all that a checkpoint of the model has."""
    return {name: (each.shape, each.dtype) for name, each in model.state_dict().items()}


def _tied(model: Any) -> Iterator[str]:
    """Names of weights that are another one's, which a checkpoint may leave out."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    yield from tied


def _tensors(files: list[Path], device: str, told: Any) -> Iterator[tuple[str, Any]]:
    safetensors: Any = importlib.import_module("safetensors")
    for path in files:
        _fetch_ahead(path)
        with safetensors.safe_open(path, framework="pt", device=device) as opened:
            for name in opened.keys():  # noqa: SIM118 — no mapping, though it has keys
                tensor = opened.get_tensor(name)
                told(tensor.numel() * tensor.element_size())
                yield name, tensor


def _fetch_ahead(path: Path) -> None:
    """Ask the kernel to read a file into memory that all share, without waiting for it."""
    if not hasattr(os, "posix_fadvise"):
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(fd)


def _fits(wanted: Mapping[str, tuple[Any, Any]], state: Mapping[str, Any], tied: set[str]) -> bool:
    if not state.keys() <= wanted.keys() or not wanted.keys() - state.keys() <= tied:
        return False
    return all(wanted[name] == (tensor.shape, tensor.dtype) for name, tensor in state.items())


def _generation(model: Any, folder: Path) -> None:
    if (folder / "generation_config.json").is_file() and hasattr(model, "generation_config"):
        generation: Any = importlib.import_module("transformers").GenerationConfig
        model.generation_config = generation.from_pretrained(folder, local_files_only=True)
