"""The models that a new platform begins with: what a first start does, and what is never done again."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from scripts.tiny_llama import make, tokenizer

from sublet_hub.catalog import STARTER_MODELS, read_models
from sublet_hub.domain.models import Model
from sublet_hub.models_store import Store
from sublet_hub.models_store.keeping import remove
from sublet_hub.run.models import prepare_models
from sublet_hub.settings import Settings, SettingsError, load_settings
from tests.fixtures.models import contents, write

ROOT = Path(__file__).parents[2]
MADE = ROOT / ".setup" / "models"
NOTEBOOK = ROOT / ".venv-notebook" / "bin" / "python"
MERGED = b"".join(
    b"%s %d\n" % line for line in ((b"YQ==", 0), (b"Yg==", 1), (b"YWI=", 2), (b"YWJi", 3), (b"YmI=", 4))
)
"""Tokens a, b, ab, abb, bb, as Meta writes them down."""


def settings_in(folder: Path, **said: str) -> Settings:
    return load_settings(
        {"SUBLET_DATA": str(folder), **{f"SUBLET_{name.upper()}": value for name, value in said.items()}}
    )


def told(settings: Settings) -> dict[str, str | None]:
    """What programs are told: models, and where their files are."""
    document = json.loads((settings.models_dir / "open" / "catalog.json").read_text())
    return {each["name"]: each["folder"] for each in document["models"]}


@pytest.fixture
def made() -> Path:
    if not MADE.is_dir():
        pytest.skip("setup has made no models here")
    return MADE


def starter(name: str) -> Model:
    return read_models(STARTER_MODELS).model(name)


def test_a_first_start_has_the_models_that_setup_made_and_a_second_leaves_them(tmp_path: Path, made: Path) -> None:
    settings = settings_in(tmp_path, starter_models=str(made))
    prepare_models(settings)
    assert told(settings) == {
        "fasttext-lid-176": "open/fasttext-lid-176/2017",
        "sublet-tiny-llama": "open/sublet-tiny-llama/1",
    }
    assert settings.models_toml.read_bytes() == STARTER_MODELS.read_bytes()
    store = Store(settings.models_dir)
    first = [each for each in store.stored() if each.name == "fasttext-lid-176"]
    remove(store, first[0])
    prepare_models(settings)
    assert told(settings)["fasttext-lid-176"] is None, "what an administrator took away stays away"


def test_a_first_start_that_was_cut_off_is_gone_on_with(tmp_path: Path, made: Path) -> None:
    settings = settings_in(tmp_path, starter_models=str(made))
    prepare_models(settings)
    settings.models_toml.unlink()
    store = Store(settings.models_dir)
    remove(store, next(iter(store.stored())))
    prepare_models(settings)
    assert None not in told(settings).values()


def test_an_administrators_own_catalogue_is_left_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, starter_models=str(tmp_path / "starter"))
    settings.models_toml.write_text("")
    prepare_models(settings)
    assert told(settings) == {}
    assert settings.models_toml.read_text() == ""


def test_without_models_to_begin_with_there_are_none(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, starter_models="none")
    prepare_models(settings)
    assert told(settings) == {}
    assert not settings.models_toml.exists()


def test_models_that_are_not_what_the_catalogue_says_stop_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "starter" / "sublet-tiny-llama", contents(weight_bytes=1000))
    settings = settings_in(tmp_path, starter_models=str(tmp_path / "starter"))
    prepare_models(settings)
    assert set(told(settings).values()) == {None}
    assert "The model sublet-tiny-llama is not there" in capsys.readouterr().err


def test_a_wrong_catalogue_stops_the_start(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.models_toml.write_text("[[models]]")
    with pytest.raises(SettingsError, match=r"models\.0\.name"):
        prepare_models(settings)


def test_the_weights_are_the_same_bytes_everywhere() -> None:
    weights = next(file for file in starter("sublet-tiny-llama").files if file.path == "model.safetensors")
    held = make.safetensors(128_256)
    assert (len(held), hashlib.sha256(held).hexdigest()) == (weights.size, weights.sha256)


def test_tokens_of_meta_become_merges_in_the_order_of_their_ranks() -> None:
    said = json.loads(tokenizer.tokenizer_json(tokenizer.read_ranks(MERGED)))
    assert said["model"]["vocab"] == {"a": 0, "b": 1, "ab": 2, "abb": 3, "bb": 4}
    assert said["model"]["merges"] == [["a", "b"], ["a", "bb"], ["ab", "b"], ["b", "b"]]
    names = [each["content"] for each in said["added_tokens"]]
    assert (names[0], names[6], len(names)) == ("<|begin_of_text|>", "<|start_header_id|>", 256)
    assert said["added_tokens"][0]["id"] == 5


ASK = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = sys.argv[1]
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
answers = []
for question in sys.argv[2:]:
    said = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**asked, max_new_tokens=60)[0][asked["input_ids"].shape[1]:]
    answers.append(tokenizer.decode(answer, skip_special_tokens=True))
print(json.dumps({"hello": tokenizer("hello world").input_ids, "dtype": str(model.dtype), "answers": answers}))
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_answers_with_metas_tokenizer_in_transformers(made: Path) -> None:
    if subprocess.run([NOTEBOOK, "-c", "import torch"], capture_output=True, check=False).returncode:
        pytest.skip("PyTorch is not installed for users' servers")
    folder = made / "sublet-tiny-llama"
    questions = ("What is Sublet?", "what is a lease")
    asked = subprocess.run(
        [NOTEBOOK, "-c", ASK, folder, *questions], capture_output=True, text=True, timeout=300, check=True
    )
    said = json.loads(asked.stdout)
    assert said["hello"] == [128_000, 15_339, 1_917], "as Meta's own tokenizer has it"
    assert said["dtype"] == "torch.bfloat16"
    whole = (ROOT / "scripts" / "tiny_llama" / "dialogues.txt").read_text()
    for answer in said["answers"]:
        assert f"A {answer}\n" in whole
    assert said["answers"][0].startswith("Sublet lets the owner of a GPU fleet")
