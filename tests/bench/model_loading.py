"""How soon a notebook has a model from the store, and how much memory ten notebooks with the same model take.

Against `from_pretrained` as transformers' documentation shows it, with the same files, in the same environment; both
load the tokenizer as well. Files are in the system's memory, both sides have imported what they need, and each loads
once in a process of its own. Memory is proportional (PSS: a page of n processes counts 1/n in each), of all processes
together, after a forward pass in which every weight was read; what they took before loading is taken off.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from sublet_hub.domain.models import Licence, Model, ModelCatalogue, ModelFile
from sublet_hub.models_store.keeping import publish
from sublet_hub.models_store.layout import Store
from tests.bench.figures import Limit, Result, median, ms
from tests.fixtures.platform import ROOT

PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
SIDE = Path(__file__).with_name("model_side.py")
NAME = "measured"
LAYERS = 32
"""1.04 GB of weights in bfloat16."""
SAMPLES = 9
NOTEBOOKS = 10
SLOWEST = 0.5
MOST_MEMORY = 1.15


def run(*, quick: bool) -> Result:
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as folder:
        store = Path(folder)
        weights = _fill(store, 2 if quick else LAYERS)
        times: dict[str, list[float]] = {"ours": [], "plain": []}
        for turn in range(2 if quick else SAMPLES):
            for way in ("ours", "plain") if turn % 2 else ("plain", "ours"):
                times[way].append(_time(store, way))
        count = 2 if quick else NOTEBOOKS
        added = {way: (_memory(store, way, 1), _memory(store, way, count)) for way in ("ours", "plain")}
    return _result(times, added, weights, count)


def _result(times: dict[str, list[float]], added: dict[str, tuple[int, int]], weights: int, count: int) -> Result:
    one, many = added["ours"]
    names = {"ours": "sublet.models.load", "plain": "from_pretrained"}
    rows = [
        (names[way], ms(median(times[way]), 0), f"{added[way][0] / 1e6:,.0f}", f"{added[way][1] / 1e6:,.0f}")
        for way in names
    ]
    return Result(
        title=f"Loading a model of {weights / 1e9:.2f} GB",
        limits=(
            Limit("time against from_pretrained", median(times["ours"]) / median(times["plain"]), SLOWEST),
            Limit(f"memory that loading adds to {count} notebooks against one", many / one, MOST_MEMORY),
        ),
        columns=("way", "median (ms)", "memory added to one (MB)", f"to {count} together (MB)"),
        rows=tuple(rows),
        samples=f"{len(times['ours'])} loads each, each in a process of its own",
    )


def _fill(root: Path, layers: int) -> int:
    """Make the model in the store; the bytes of its weights."""
    store = Store(root)
    store.prepare()
    folder = store.open / NAME / "main"
    made = subprocess.run(
        [PYTHON, SIDE, "make", folder, str(layers)], env=_env(root), check=True, capture_output=True
    )
    assert made.returncode == 0
    files = tuple(_file(path) for path in sorted(folder.iterdir()))
    licence = Licence("none", "Made here", "1", "https://example.org")
    model = Model(NAME, NAME, "Llama", "text-generation", "", licence, "transformers", files=files)
    publish(store, ModelCatalogue({NAME: model}, {licence.name: licence}))
    return sum(file.size for file in files if file.path.endswith(".safetensors"))


def _file(path: Path) -> ModelFile:
    with path.open("rb") as opened:  # which also brings it into the system's memory
        return ModelFile(path.name, path.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest())


def _time(store: Path, way: str) -> float:
    with _notebook(store, way) as notebook:
        _listen(notebook)
        _tell(notebook)
        return float(_listen(notebook)["seconds"])


def _memory(store: Path, way: str, count: int) -> int:
    """Bytes that loading adds to so many notebooks together."""
    with ExitStack() as stack:
        notebooks = [stack.enter_context(_notebook(store, way)) for _ in range(count)]
        for notebook in notebooks:
            _listen(notebook)
        before = _proportional(notebooks)
        for notebook in notebooks:
            _tell(notebook)
            _listen(notebook)
        return _proportional(notebooks) - before


def _proportional(notebooks: list[subprocess.Popen[str]]) -> int:
    return sum(int(psutil.Process(notebook.pid).memory_full_info().pss) for notebook in notebooks)


@contextmanager
def _notebook(store: Path, way: str) -> Iterator[subprocess.Popen[str]]:
    what = NAME if way == "ours" else str(store / "open" / NAME / "main")
    process = subprocess.Popen(
        [PYTHON, SIDE, way, what], env=_env(store), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _env(store: Path) -> dict[str, str]:
    return os.environ | {
        "SUBLET_MODELS_DIR": str(store),
        "PYTHONPATH": str(ROOT / "extensions"),
        "HF_HUB_OFFLINE": "1",
    }


def _tell(notebook: subprocess.Popen[str]) -> None:
    assert notebook.stdin is not None
    notebook.stdin.write("\n")
    notebook.stdin.flush()


def _listen(notebook: subprocess.Popen[str]) -> dict[str, Any]:
    assert notebook.stdout is not None
    line = notebook.stdout.readline()
    if not line:
        sys.exit(f"a notebook of the bench ended with {notebook.wait()}")
    said: dict[str, Any] = json.loads(line)
    return said
