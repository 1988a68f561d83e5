"""`sublet.models.load` with real PyTorch and transformers, in the environment of users' servers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sublet.models.hub_cache import link_models
from sublet.models.store import Store
from tests.extension.models_store import fill, make_model
from tests.fixtures.platform import ROOT

PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
SCRIPT = Path(__file__).with_name("loading_models.py")

pytestmark = pytest.mark.slow


def run(*arguments: str, store: Path | None = None) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "extensions"), "HF_HUB_OFFLINE": "1"}
    if store is not None:
        env["SUBLET_MODELS_DIR"] = str(store)
    done = subprocess.run(
        [PYTHON, SCRIPT, *arguments], env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small Llama with tied embeddings, in several shards."""
    made = tmp_path_factory.mktemp("made")
    run("make", str(made))
    return {path.name: path.read_bytes() for path in made.iterdir()}


def loaded(store: Path, files: dict[str, bytes]) -> dict[str, Any]:
    model = make_model("small", files, loader="transformers")
    fill(store, (model, files))
    said: dict[str, Any] = json.loads(run("load", "small", store=store))
    return said


def test_a_model_is_mapped_and_what_from_pretrained_makes(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert sum(name.endswith(".safetensors") for name in files) > 1
    said = loaded(tmp_path, files)
    assert said == {
        "mapped": True,
        "same": True,
        "tokens": [[1, 2, 3, 4]],
        "files mapped": sum(name.endswith(".safetensors") for name in files),
        "parameters": True,
        "buffers": True,
        "tied": True,
        "training": False,
        "max_new_tokens": 7,
        "generated": [1, 11],
        "wide": "torch.float32",
        "wide converted": 1,
    }
    folder = tmp_path / "open" / "small" / "main"
    for name, data in files.items():  # though the notebook has changed every weight of it
        assert hashlib.sha256((folder / name).read_bytes()).digest() == hashlib.sha256(data).digest()


def test_weights_that_must_be_converted_go_transformers_own_way(tmp_path: Path, files: dict[str, bytes]) -> None:
    config = json.loads(files["config.json"])
    said = loaded(tmp_path, files | {"config.json": json.dumps(config | {"dtype": "float32"}).encode()})
    assert not said["mapped"]
    assert said["same"]
    assert said["parameters"]


def test_tools_of_the_hub_find_the_files_offline(tmp_path: Path, files: dict[str, bytes]) -> None:
    model = replace(make_model("small", files, loader="transformers"), repository="org/Small")
    fill(tmp_path / "store", (model, files))
    link_models(Store.of({"SUBLET_MODELS_DIR": str(tmp_path / "store")}), tmp_path / "cache" / "hub")
    code = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer;"
        "name = 'org/Small';"
        "print(AutoModelForCausalLM.from_pretrained(name).dtype, len(AutoTokenizer.from_pretrained(name)))"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    env.pop("HF_HUB_CACHE", None)
    done = subprocess.run([PYTHON, "-c", code], env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.split() == ["torch.bfloat16", "7"], done.stderr
