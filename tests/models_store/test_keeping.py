"""What is done with models that are there: checked, removed, told to programs; and entries written for new ones."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from sublet_hub.catalog import read_models
from sublet_hub.domain.models import Model, ModelCatalogue, Serving, Upstream
from sublet_hub.models_store import Store
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.describing import Said, described
from sublet_hub.models_store.errors import StoreError, TransferError
from sublet_hub.models_store.keeping import problems_of, publish, remove
from sublet_hub.models_store.sources import FolderSource
from sublet_hub.models_store.transfer import Silence
from tests.fixtures.models import GATED, catalogue_of, contents, model_of, serving, toml_of, write

FILES = contents()
SERVING = Serving((Upstream("http://secret-host/v1", "m", "SECRET_KEY"),), 8192, 512, 100, 300)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def filled(store: Store, model: Model, usb: Path) -> Path:
    Adding(store, model, FolderSource(str(write(usb, FILES)))).run()
    return store.folder_of(model)


def _change(path: Path, held: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(held)


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


HARMS: dict[str, Callable[[Path], object]] = {
    "config.json is missing": lambda folder: (folder / "config.json").unlink(),
    "config.json has 2 bytes; the catalogue says": lambda folder: _change(folder / "config.json", b"{}"),
    "config.json has the SHA-256": lambda folder: _change(folder / "config.json", b'{"model_type": "llamA"}'),
    "more.txt does not belong to it": lambda folder: (folder / "more.txt").write_bytes(b""),
    "config.json is a link": lambda folder: _to_link(folder / "config.json"),
}


@pytest.mark.parametrize("said", HARMS)
def test_each_kind_of_damage_is_named(store: Store, tmp_path: Path, said: str) -> None:
    model = model_of(FILES)
    folder = filled(store, model, tmp_path / "usb")
    assert problems_of(store, model) == []
    HARMS[said](folder)
    (problem,) = problems_of(store, model)
    assert problem.startswith(said)


def document(store: Store, catalogue: ModelCatalogue) -> dict[str, dict[str, object]]:
    publish(store, catalogue)
    said = json.loads(store.public_catalogue.read_text())
    assert said["format"] == 1
    return {each["name"]: each for each in said["models"]}


def test_programs_are_told_what_there_is_and_nothing_of_upstreams(store: Store, tmp_path: Path) -> None:
    here, gated = model_of(FILES, serving=SERVING), model_of(FILES, "llama", GATED)
    catalogue = catalogue_of(here, gated, model_of({}, "far", serving=SERVING))
    filled(store, here, tmp_path / "usb")
    told = document(store, catalogue)
    assert told["tiny"]["folder"] == "open/tiny/r1"
    assert (told["llama"]["folder"], told["llama"]["gated"], told["llama"]["licence"]) == (None, True, "llama-3.2")
    assert told["far"]["serving"] == {
        "context_tokens": 8192,
        "output_tokens_max": 512,
        "input_microunits_per_million_tokens": 100,
        "output_microunits_per_million_tokens": 300,
    }
    assert "secret" not in store.public_catalogue.read_text().lower()
    filled(store, gated, tmp_path / "usb")
    assert document(store, catalogue)["llama"]["folder"] == "gated/llama/r1"
    assert [path.name for path in store.open.iterdir() if path.name.startswith(".")] == []


def test_what_is_removed_is_gone_and_a_gated_models_own_folder_stays(store: Store, tmp_path: Path) -> None:
    here, gated = model_of(FILES), model_of(FILES, "llama", GATED)
    catalogue = catalogue_of(here, gated)
    filled(store, here, tmp_path / "usb")
    filled(store, gated, tmp_path / "usb")
    for each in list(store.stored()):
        remove(store, each)
    assert list(store.stored()) == []
    assert {path.name for path in store.open.iterdir()} == set()
    assert {path.name for path in store.gated.iterdir()} == {"llama"}
    assert {path.name for path in store.incoming.iterdir()} == {"locks"}
    assert document(store, catalogue)["tiny"]["folder"] is None


def test_what_comes_under_a_gated_licence_is_closed_at_once_and_the_other_way_round(
    store: Store, tmp_path: Path
) -> None:
    filled(store, model_of(FILES), tmp_path / "usb")
    closed = model_of(FILES, licence=GATED)
    assert document(store, catalogue_of(closed))["tiny"]["folder"] == "gated/tiny/r1"
    assert not (store.open / "tiny").exists()
    assert problems_of(store, closed) == []
    assert document(store, catalogue_of(model_of(FILES)))["tiny"]["folder"] == "open/tiny/r1"
    assert [(each.name, each.gated) for each in store.stored()] == [("tiny", False)]
    filled(store, closed, tmp_path / "usb")
    document(store, catalogue_of(closed))
    assert [(each.name, each.gated) for each in store.stored()] == [("tiny", True)]


def entry(text: str) -> dict[str, object]:
    (table,) = tomllib.loads(text)["models"]
    assert isinstance(table, dict)
    return table


def test_a_folder_is_described_as_an_entry_that_the_catalogue_takes(tmp_path: Path) -> None:
    usb = write(tmp_path / "Tiny_Llama 1B", {**FILES, "pytorch_model.bin": b"\x80\x02", ".git/config.json": b"{}"})
    text = described(str(usb), "r1", "http://127.0.0.1:9", None, Silence())
    assert entry(text)["name"] == "tiny-llama-1b"
    model = model_of(FILES, "tiny-llama-1b")
    licence, _, _ = toml_of(catalogue_of(model)).partition("[[models]]")
    assert "# left out, since it may be a pickle: pytorch_model.bin\n" in text
    said = Said("tiny-llama-1b", "Tiny", "Llama", "text", "apache-2.0")
    text = described(str(usb), "r1", "http://127.0.0.1:9", None, Silence(), said)
    (tmp_path / "models.toml").write_text(licence + text)
    read = read_models(tmp_path / "models.toml").model("tiny-llama-1b")
    assert sorted(read.files, key=lambda file: file.path) == sorted(model.files, key=lambda file: file.path)


def test_a_repository_is_described_by_its_commit_with_the_hubs_own_sums(tmp_path: Path) -> None:
    model = model_of(FILES)
    commit = "4e20de362430cd3b72f300e6b0f18e50e7166e08"
    small = {name: held for name, held in FILES.items() if name != "model.safetensors"}
    siblings: list[dict[str, object]] = [{"rfilename": name} for name in (*small, ".gitattributes", "pickle.bin")]
    lfs = {"size": model.files[0].size, "sha256": model.files[0].sha256}
    siblings.append({"rfilename": "model.safetensors", "lfs": lfs})
    api = json.dumps({"sha": commit, "siblings": siblings}).encode()
    files = {f"/org/tiny/resolve/{commit}/{name}": held for name, held in small.items()}
    address = "/api/models/org/tiny/revision/main?blobs=true"
    with serving({**files, address: api}, token="hf_x") as hub:
        said = entry(described("org/tiny", "main", hub.url, "hf_x", Silence()))
        with pytest.raises(TransferError, match="401") as refused:
            described("org/tiny", "main", hub.url, None, Silence())
    assert "HF_TOKEN" in (refused.value.hint or "")
    assert (said["repository"], said["revision"], said["loader"]) == ("org/tiny", commit, "transformers")
    assert isinstance(said["files"], list)
    assert {(file["path"], file["size"], file["sha256"]) for file in said["files"]} == {
        (file.path, file.size, file.sha256) for file in model.files
    }


def test_what_is_neither_a_folder_nor_a_repository_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="neither a folder nor a repository"):
        described("no such thing", "main", "http://127.0.0.1:9", None, Silence())
    with pytest.raises(StoreError, match="no file of a format"):
        described(str(write(tmp_path / "usb", {"a.bin": b"x"})), "main", "http://127.0.0.1:9", None, Silence())
