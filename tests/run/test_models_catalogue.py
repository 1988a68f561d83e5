"""`models.toml`: what it may say, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sublet_hub.catalog import load_models
from sublet_hub.domain.models import Licence, Model, ModelFile, Serving, Upstream
from sublet_hub.settings import SettingsError, load_settings

SUM = "ab" * 32
LICENCE = """
[[licences]]
name = "llama-3.2"
title = "Llama 3.2 Community License"
version = "2024-09-25"
url = "https://www.llama.com/llama3_2/license/"
gated = true
text_file = "licences/llama-3.2.txt"
"""
MODEL = f"""
[[models]]
name = "llama-3.2-1b"
title = "Llama 3.2 1B"
family = "Llama"
task = "text-generation"
description = "  Small.  "
repository = "meta-llama/Llama-3.2-1B"
revision = "4e20de362430cd3b72f300e6b0f18e50e7166e08"
parameters = 1_235_814_400
dtype = "bfloat16"
memory_bytes = 3_000_000_000
loader = "transformers"
licence = "llama-3.2"
files = [
  {{ path = "model.safetensors", size = 2471645608, sha256 = "{SUM}" }},
  {{ path = "original/tokenizer.model", size = 2183982, sha256 = "{SUM}" }},
]
example = "sublet.models.load('llama-3.2-1b')"

[models.serving]
context_tokens = 131072
output_tokens_max = 4096
input_microunits_per_million_tokens = 100
concurrency = 4
upstreams = [
  {{ url = "http://vllm-a:8000/v1/", model = "meta-llama/Llama-3.2-1B", api_key_variable = "VLLM_KEY" }},
  {{ start = "transformers" }},
]
"""


def written(folder: Path, toml: str) -> None:
    (folder / "licences").mkdir(exist_ok=True)
    (folder / "licences" / "llama-3.2.txt").write_text("the terms")
    (folder / "models.toml").write_text(toml, encoding="utf-8")


def read(folder: Path, toml: str) -> Model:
    written(folder, toml)
    return next(iter(load_models(load_settings({"SUBLET_DATA": str(folder)})).models.values()))


def test_a_catalogue_reads_as_written(tmp_path: Path) -> None:
    licence = Licence(
        "llama-3.2",
        "Llama 3.2 Community License",
        "2024-09-25",
        "https://www.llama.com/llama3_2/license/",
        gated=True,
        text_file="licences/llama-3.2.txt",
    )
    upstreams = (
        Upstream("http://vllm-a:8000/v1", "meta-llama/Llama-3.2-1B", "VLLM_KEY"),
        Upstream(None, "llama-3.2-1b", None, "transformers"),
    )
    assert read(tmp_path, LICENCE + MODEL) == Model(
        name="llama-3.2-1b",
        title="Llama 3.2 1B",
        family="Llama",
        task="text-generation",
        description="Small.",
        licence=licence,
        loader="transformers",
        repository="meta-llama/Llama-3.2-1B",
        revision="4e20de362430cd3b72f300e6b0f18e50e7166e08",
        parameters=1_235_814_400,
        dtype="bfloat16",
        memory_bytes=3_000_000_000,
        files=(
            ModelFile("model.safetensors", 2471645608, SUM),
            ModelFile("original/tokenizer.model", 2183982, SUM),
        ),
        serving=Serving(upstreams, 131072, 4096, 100, 0, 4),
        example="sublet.models.load('llama-3.2-1b')",
    )


def test_without_a_file_there_are_no_models_but_one_that_is_named_must_be_there(tmp_path: Path) -> None:
    env = {"SUBLET_DATA": str(tmp_path)}
    assert not load_models(load_settings(env)).models
    with pytest.raises(SettingsError, match=r"can't be read.*no\.toml"):
        load_models(load_settings({**env, "SUBLET_MODELS_FILE": str(tmp_path / "no.toml")}))


WHOLE = LICENCE + MODEL


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (WHOLE + "[", "not valid TOML"),
        (WHOLE.replace("model.safetensors", "pytorch_model.bin"), "models.0.files.0.*may be a pickle.*safetensors"),
        (WHOLE.replace("model.safetensors", "model.gguf"), "models.0.files.0.*of no format"),
        (WHOLE.replace("model.safetensors", "../model.safetensors"), "models.0.files.0.path"),
        (WHOLE.replace("model.safetensors", "/model.safetensors"), "models.0.files.0.path"),
        (WHOLE.replace("model.safetensors", "a/./model.safetensors"), "models.0.files.0.path"),
        (WHOLE.replace("original/tokenizer.model", "model.safetensors"), "file of the model llama-3.2-1b model"),
        (WHOLE.replace(SUM, SUM[:-1]), "models.0.files.0.sha256"),
        (WHOLE.replace("size = 2183982", "size = 0"), "models.0.files.1.size"),
        (WHOLE.replace("size = 2183982", 'size = "1"'), "models.0.files.1.size"),
        (WHOLE.replace('name = "llama-3.2-1b"', 'name = "Llama"'), "models.0.name"),
        (WHOLE.replace('name = "llama-3.2-1b"', 'name = "../x"'), "models.0.name"),
        (WHOLE.replace('name = "llama-3.2-1b"', 'name = "catalog.json"'), "models.0.*may be called catalog.json"),
        (WHOLE.replace("4e20de36", "../"), "models.0.revision"),
        (WHOLE.replace('loader = "transformers"', 'loader = "pickle"'), "models.0.loader"),
        (WHOLE.replace('licence = "llama-3.2"', 'licence = "mit"'), "no licence 'mit'. Licences: llama-3.2"),
        (WHOLE.replace('start = "transformers"', ""), "upstreams.1.*either url.*or start"),
        (WHOLE.replace('start = "transformers"', 'start = "fasttext", url = "http://a"'), "upstreams.1.*either url"),
        (WHOLE.replace("http://vllm-a", "vllm-a"), "upstreams.0.url"),
        (WHOLE.replace("VLLM_KEY", "sk-secret"), "upstreams.0.api_key_variable"),
        (WHOLE.replace("4096", "200000"), "output_tokens_max is a part of context_tokens"),
        (WHOLE.replace("concurrency = 4", "concurency = 4"), "models.0.serving.concurency"),
        (WHOLE + MODEL, "model llama-3.2-1b stands there twice"),
        (LICENCE + WHOLE, "licence llama-3.2 stands there twice"),
        (WHOLE.replace("licences/llama-3.2.txt", "licences/none.txt"), "licences.llama-3.2: there is no file"),
        (LICENCE + MODEL.partition("files = [")[0], "give files, serving or both"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(tmp_path, toml)
