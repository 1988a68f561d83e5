"""A real platform with real JupyterLab, and a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.browser import Contexts, SignIn, chromium, complaints, contexts, signing_in
from tests.fixtures.platform import Platform

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
    made = Platform(folder, settings, tiny=False).start()
    yield made
    assert made.stop() == 0


@pytest.fixture
def sign_in(platform: Platform, contexts: Contexts, complaints: list[str]) -> SignIn:
    return signing_in(platform, contexts, complaints)
