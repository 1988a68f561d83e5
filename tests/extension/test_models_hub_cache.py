"""The store's models where tools of the hub look, and what the user has downloaded left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sublet.models.hub_cache import cache_folder, link_models
from sublet.models.store import Store
from tests.extension.models_store import GATED, fill, make_model

FILES = {"config.json": b"{}"}
OTHER = "0" * 40


def store(root: Path, revision: str = "main") -> Store:
    model = replace(make_model("small", FILES), repository="org/Small", revision=revision)
    closed = replace(make_model("closed", FILES, licence=GATED), repository="org/Closed")
    nameless = make_model("nameless", FILES)
    fill(root, (model, FILES), (closed, FILES), (nameless, FILES), without=("closed",))
    return Store.of({"SUBLET_MODELS_DIR": str(root)})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def test_models_are_found_by_name_and_by_revision(tmp_path: Path, cache: Path) -> None:
    assert link_models(store(tmp_path / "store", "abc123"), cache) == 1
    folder = cache / "models--org--Small"
    assert (folder / "refs" / "main").read_text() == "abc123"
    assert (folder / "snapshots" / "abc123" / "config.json").read_bytes() == b"{}"
    assert [each.name for each in cache.iterdir()] == ["models--org--Small"]


def test_linking_again_changes_nothing(tmp_path: Path, cache: Path) -> None:
    for _ in range(2):
        assert link_models(store(tmp_path / "store"), cache) == 1
    assert [each.name for each in (cache / "models--org--Small" / "snapshots").iterdir()] == ["main"]


def test_a_new_revision_is_the_one_that_is_found(tmp_path: Path, cache: Path) -> None:
    link_models(store(tmp_path / "store", "first"), cache)
    (tmp_path / "store" / "open" / "small" / "first").rename(tmp_path / "away")
    link_models(store(tmp_path / "store", "second"), cache)
    folder = cache / "models--org--Small"
    assert (folder / "refs" / "main").read_text() == "second"
    assert [each.name for each in (folder / "snapshots").iterdir()] == ["second"]


def test_what_the_user_downloaded_goes_first(tmp_path: Path, cache: Path) -> None:
    own = cache / "models--org--Small" / "snapshots" / OTHER
    own.mkdir(parents=True)
    reference = cache / "models--org--Small" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text(OTHER)
    assert link_models(store(tmp_path / "store", "abc123"), cache) == 1
    assert reference.read_text() == OTHER
    assert not own.is_symlink()
    assert (own.parent / "abc123" / "config.json").exists()


def test_a_store_elsewhere_is_followed(tmp_path: Path, cache: Path) -> None:
    link_models(store(tmp_path / "one"), cache)
    link_models(store(tmp_path / "two"), cache)
    assert (cache / "models--org--Small" / "snapshots" / "main").readlink().is_relative_to(tmp_path / "two")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"HOME": "/home/a"}, "/home/a/.cache/huggingface/hub"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/home/a", "HF_HOME": "/hf"}, "/hf/hub"),
        ({"HF_HOME": "/hf", "HF_HUB_CACHE": "/hub"}, "/hub"),
    ],
)
def test_where_the_hubs_tools_look(env: dict[str, str], expected: str) -> None:
    assert str(cache_folder(env)) == expected
