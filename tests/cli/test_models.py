"""`sublet models`: what the commands say, and how they end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sublet_hub.models_store import Store
from sublet_hub.settings import Settings
from tests.cli.conftest import Run
from tests.fixtures.models import GATED, catalogue_of, contents, model_of, serving, toml_of, write

FILES = contents()
TINY, LLAMA = model_of(FILES), model_of(FILES, "llama", GATED)


@pytest.fixture
def store(beside: Settings) -> Store:
    """The empty store of the platform in the folder we are in, with two models in its catalogue."""
    beside.models_toml.write_text(toml_of(catalogue_of(TINY, LLAMA)))
    return Store(beside.models_dir)


@pytest.fixture
def usb(tmp_path: Path) -> Path:
    return write(tmp_path / "usb", FILES)


def test_models_are_added_listed_verified_and_removed(run: Run, store: Store, usb: Path) -> None:
    added = run("models", "add", "tiny", "llama", "--from", str(usb))
    assert (added.code, added.err) == (0, "")
    assert added.out.splitlines() == ["tiny: added, 98 KiB", "llama: added, 98 KiB"]
    assert run("models", "add", "tiny", "--from", str(usb)).out == "tiny: is there already, 98 KiB\n"
    listed = {each["name"]: each for each in run("models", "list", "--json").json}
    assert listed["llama"] == {
        "name": "llama",
        "revision": "r1",
        "family": "Llama",
        "size_bytes": LLAMA.size_bytes,
        "licence": "llama-3.2",
        "gated": True,
        "stored": True,
        "served": False,
        "in_catalogue": True,
        "folder": str(store.root / "gated" / "llama" / "r1"),
    }
    assert "to be accepted" in run("models", "list").out
    assert "tiny: as the catalogue says" in run("models", "verify").out
    assert run("models", "remove", "tiny").out == "tiny, revision r1: removed\n"
    gone = run("models", "remove", "tiny")
    assert (gone.code, "tiny is not in the store" in gone.err) == (1, True)


def test_what_came_with_the_platform_is_taken_before_anything_is_fetched(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "starter" / "tiny", FILES)
    write(tmp_path / "starter" / "llama", {**FILES, "config.json": b"{}"})
    monkeypatch.setenv("SUBLET_STARTER_MODELS", str(tmp_path / "starter"))
    monkeypatch.setenv("SUBLET_MODELS_SOURCE", str(tmp_path / "nowhere"))
    added = run("models", "add", "--all")
    assert (added.code, added.out) == (1, "tiny: added, 98 KiB\n")
    assert f"There is no file {tmp_path / 'nowhere'}" in added.err, "these are other files of that name"
    assert run("models", "path", "tiny").out == f"{store.folder_of(TINY)}\n"
    lacking = run("models", "path", "llama")
    assert (lacking.code, "llama is not in the store" in lacking.err) == (1, True)
    assert "There is no model 'lama'" in run("models", "path", "lama").err


def test_a_model_can_be_waited_for(run: Run, store: Store, usb: Path) -> None:
    threading.Timer(0.5, lambda: write(store.folder_of(TINY), FILES)).start()
    assert run("models", "path", "tiny", "--wait", "60").out == f"{store.folder_of(TINY)}\n"


def test_damage_is_found_and_mended(run: Run, store: Store, usb: Path) -> None:
    run("models", "add", "--all", "--from", str(usb))
    damaged = store.folder_of(TINY) / "config.json"
    damaged.chmod(0o644)
    damaged.write_bytes(b"{}")
    found = run("models", "verify")
    assert found.code == 1
    assert "tiny: WRONG" in found.out
    assert "sublet models add tiny --again" in found.out
    assert {each["model"]: len(each["problems"]) for each in run("models", "verify", "--json").json} == {
        "tiny": 1,
        "llama": 0,
    }
    assert run("models", "add", "tiny", "--again", "--from", str(usb)).code == 0
    assert run("models", "verify").code == 0


def test_what_can_not_be_had_is_said_and_the_others_are_added(run: Run, store: Store) -> None:
    with serving({f"/llama/{name}": held for name, held in FILES.items()}) as server:
        done = run("models", "add", "--all", "--from", f"{server.url}/{{name}}")
    assert done.code == 1
    assert "Error: tiny:" in done.err
    assert "404" in done.err
    assert done.out == "llama: added, 98 KiB\n"
    assert [each.name for each in store.stored()] == ["llama"]


def test_servers_can_be_mounted_though_nothing_could_be_fetched(run: Run, store: Store) -> None:
    assert run("models", "add", "--all", "--from", "/nowhere").code == 1
    assert (store.gated / "llama").is_dir()
    assert store.public_catalogue.is_file()


def test_the_hub_is_the_settings_and_the_token_the_environments(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"/org/tiny/resolve/r1/{name}": held for name, held in FILES.items()}
    with serving(files, token="hf_secret") as hub:
        monkeypatch.setenv("SUBLET_MODELS_HUB_URL", hub.url)
        refused = run("models", "add", "tiny")
        assert (refused.code, "set HF_TOKEN" in refused.err) == (1, True)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        added = run("models", "add", "tiny")
    assert added.code == 0, added.err
    assert "hf_secret" not in added.out + added.err + refused.err


def test_what_was_not_understood_is_not_begun(run: Run, store: Store) -> None:
    for words, said in (
        (("add",), "Name the models"),
        (("add", "tiny", "--all"), "Name the models"),
        (("add", "tyni"), "no model 'tyni'. Models: llama, tiny"),
        (("verify", "tyni"), "no model 'tyni'"),
    ):
        done = run("models", *words)
        assert (done.code, said in done.err) == (2, True), done.err
    assert not store.root.exists()


def test_a_wrong_catalogue_is_named(run: Run, store: Store, beside: Settings) -> None:
    beside.models_toml.write_text("[[models]]\n")
    done = run("models", "list")
    assert done.code == 2
    assert "models.0.name" in done.err
    assert "models.toml" in done.err


def test_what_the_catalogue_no_longer_has_is_shown_and_can_be_removed(
    run: Run, store: Store, usb: Path, beside: Settings
) -> None:
    run("models", "add", "tiny", "--from", str(usb))
    beside.models_toml.unlink()
    (line,) = run("models", "list", "--json").json
    assert (line["name"], line["stored"], line["in_catalogue"]) == ("tiny", True, False)
    assert line["size_bytes"] == TINY.size_bytes
    assert "not in the catalogue" in run("models", "list").out
    assert run("models", "remove", "tiny", "--revision", "r2").code == 1
    assert run("models", "remove", "tiny", "--revision", "r1").code == 0
    assert "There are no models" in run("models", "list").out


def test_a_store_is_prepared_for_being_mounted(run: Run, store: Store) -> None:
    done = run("models", "prepare")
    assert (done.code, done.out) == (0, f"{store.root} is ready.\n")
    assert (store.gated / "llama").is_dir()
    assert store.public_catalogue.is_file()


def test_a_folder_is_described(run: Run, usb: Path) -> None:
    done = run("models", "describe", str(usb), "--licence", "apache-2.0")
    assert done.code == 0, done.err
    assert 'licence = "apache-2.0"\n' in done.out
    assert 'path = "model.safetensors", size = 100000' in done.out
