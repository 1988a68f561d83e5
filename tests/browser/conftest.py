"""A real platform with real JupyterLab, and a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sublet_hub.catalog import STARTER_MODELS, read_models
from sublet_hub.models_store import Store
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.sources import FolderSource
from tests.fixtures.browser import Contexts, SignIn, chromium, complaints, contexts, signing_in
from tests.fixtures.models import GATED, catalogue_of, contents, model_of, toml_of, write
from tests.fixtures.platform import ROOT, Platform

__all__ = ["chromium", "complaints", "contexts"]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("browser")
    settings = {
        "SUBLET_NOTICE_SECONDS": "8,3",
        "SUBLET_METER_TICK_SECONDS": "0.5",
        "SUBLET_TOKEN_CACHE_SECONDS": "2",
        "SUBLET_CONTACT": "gpu-admins@example.org",
        "SUBLET_SPAWN_TIMEOUT_SECONDS": "120",
    }
    made = Platform(folder, settings, tiny=False)
    fill_models(made)
    made.start()
    yield made
    assert made.stop() == 0


def fill_models(platform: Platform) -> None:
    """The models that a new platform begins with, and a gated one."""
    platform.data.mkdir()
    platform.data.chmod(0o711)
    files = contents(weight_bytes=1000)
    gated = model_of(files, "llama", GATED)
    catalogue = platform.data / "models.toml"
    catalogue.write_text(STARTER_MODELS.read_text() + "\n" + toml_of(catalogue_of(gated)))
    store = Store(platform.data / "models")
    Adding(store, gated, FolderSource(str(write(platform.folder / "usb", files)))).run()
    for model in read_models(STARTER_MODELS).models.values():
        Adding(store, model, FolderSource(f"{ROOT / '.setup' / 'models'}/{{name}}")).run()


@pytest.fixture
def sign_in(platform: Platform, contexts: Contexts, complaints: list[str]) -> SignIn:
    return signing_in(platform, contexts, complaints)
