"""A model's server as a pod runs it: on a port, with the model that comes with Sublet."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sublet_hub import gateway
from tests.fixtures.platform import ROOT
from tests.fixtures.site import wait_until
from tests.gateway.running import free_port

PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
MODEL = ROOT / ".setup" / "models" / "fasttext-lid-176"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def url() -> Iterator[str]:
    for needed in (PYTHON, MODEL):
        if not needed.exists():
            pytest.skip(f"there is no {needed}; `make setup` makes it")
    port = free_port()
    script = Path(gateway.__path__[0]) / "servers" / "classify.py"
    process = subprocess.Popen([PYTHON, "-I", script, f"127.0.0.1:{port}", "lid", MODEL])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_it_classifies(url: str) -> None:
    wait_until(lambda: answers(url), 30, "the server answers")
    asked = {"model": "lid", "input": ["Wo ist der Bahnhof?", "Where is the station?"]}
    said = httpx.post(f"{url}/classify", json=asked, trust_env=False).raise_for_status().json()
    assert [each["label"] for each in said["data"]] == ["de", "en"]
    assert said["usage"]["prompt_tokens"] == 8
