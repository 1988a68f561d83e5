"""Models: what a file may be, where it lies, and what calls cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.errors import NotFound
from sublet_hub.domain.models import (
    FileFormat,
    Licence,
    Model,
    ModelCatalogue,
    ModelFile,
    Serving,
    Upstream,
    format_of,
    may_hold_pickle,
    money_of,
)

OPEN = Licence("apache-2.0", "Apache 2.0", "2.0", "https://www.apache.org/licenses/LICENSE-2.0")
GATED = Licence("llama-3.2", "Llama 3.2", "2024-09-25", "https://www.llama.com/llama3_2/license/", gated=True)
SERVING = Serving((Upstream("http://vllm:8000/v1", "m"),), 8192, 1024, 150_000, 600_000)


def model(name: str, licence: Licence = OPEN, serving: Serving | None = None, size: int = 5) -> Model:
    files = (ModelFile("model.safetensors", size, "0" * 64), ModelFile("config.json", 2, "1" * 64))
    return Model(name, name, "Llama", "text", "", licence, "transformers", files=files, serving=serving)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("model.safetensors", FileFormat.SAFETENSORS),
        ("part/model-00001-of-00002.SafeTensors", FileFormat.SAFETENSORS),
        ("lid.176.ftz", FileFormat.FASTTEXT),
        ("tokenizer.json", FileFormat.JSON),
        ("original/tokenizer.model", FileFormat.TOKENIZER),
        ("LICENSE", FileFormat.TEXT),
        ("merges.txt", FileFormat.TEXT),
        ("pytorch_model.bin", None),
        ("modeling.py", None),
        ("safetensors", None),
        (".safetensors", None),
        ("safetensors/model", None),
        ("model.safetensors.exe", None),
    ],
)
def test_a_name_says_the_format_or_is_refused(path: str, found: FileFormat | None) -> None:
    assert format_of(path) == found


@pytest.mark.parametrize("path", ["pytorch_model.bin", "sam2.pt", "a/b.PTH", "x.pkl", "last.ckpt", "w.npz"])
def test_names_of_pickles_are_known_and_are_no_format(path: str) -> None:
    assert may_hold_pickle(path)
    assert format_of(path) is None


def test_gated_models_lie_apart() -> None:
    assert model("a").folder == "open/a/main"
    assert model("b", GATED).folder == "gated/b/main"
    assert model("a").size_bytes == 7


def test_what_is_not_there_is_said_with_what_is() -> None:
    catalogue = ModelCatalogue({"a": model("a", serving=SERVING), "b": model("b", GATED)}, {"llama-3.2": GATED})
    assert catalogue.model("b").gated
    assert [each.name for each in catalogue.served] == ["a"]
    assert catalogue.gated_names == ("b",)
    with pytest.raises(NotFound, match=r"no model 'c'. Models: a, b\."):
        catalogue.model("c")
    with pytest.raises(NotFound, match=r"no licence 'mit'. Licences: llama-3.2\."):
        catalogue.licence("mit")


@pytest.mark.parametrize(
    ("tokens_in", "tokens_out", "money"),
    [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 2), (1_000_000, 1_000_000, 750_000), (20, 5, 3 + 3)],
)
def test_each_kind_of_token_is_rounded_up(tokens_in: int, tokens_out: int, money: int) -> None:
    assert money_of(SERVING, tokens_in, tokens_out) == money


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 10**6))
def test_parts_cost_the_whole_and_at_most_two_micro_units_more(a: int, b: int, c: int, d: int) -> None:
    apart = money_of(SERVING, a, b) + money_of(SERVING, c, d)
    together = money_of(SERVING, a + c, b + d)
    assert together <= apart <= together + 2
