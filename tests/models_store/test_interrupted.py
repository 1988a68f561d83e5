"""The command itself, killed in the middle, run twice at once, and on a disk that fills up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sublet_hub.models_store import Store
from tests.fixtures.models import catalogue_of, contents, model_of, serving, toml_of

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0
FILES = contents(weight_bytes=3_000_000)
MODEL = model_of(FILES)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.02)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "models.toml").write_text(toml_of(catalogue_of(MODEL)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUBLET_")}
    store = {"SUBLET_MODELS_DIR": str(tmp_path / "models"), "SUBLET_MODELS_FILE": str(tmp_path / "models.toml")}
    return kept | store | {"SUBLET_DATA": str(tmp_path)}


def command(env: dict[str, str], url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sublet_hub.cli", "models", "add", "tiny", "--from", url],
        env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def visible(store: Store) -> list[str]:
    return [path.name for kind in (store.open, store.gated) for path in kind.rglob("*")]


def told_folder(store: Store) -> object:
    """Where programs in users' servers are told that the model is."""
    (model,) = json.loads(store.public_catalogue.read_text())["models"]
    return model["folder"]


def test_killed_in_the_middle_nothing_is_seen_and_the_next_goes_on(env: dict[str, str], tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    gate = threading.Event()
    with serving({f"/{name}": held for name, held in FILES.items()}, gate=gate) as server:
        first = command(env, server.url)
        wait_for(lambda: bytes_in(store.incoming) >= 1_000_000, "the first half of the weights")
        first.kill()
        first.communicate(timeout=DEADLINE_SECONDS)
        assert visible(store) == ["catalog.json"]
        assert told_folder(store) is None
        had = bytes_in(store.incoming)
        gate.set()
        server.got.clear()
        second = command(env, server.url)
        out, err = second.communicate(timeout=DEADLINE_SECONDS)
        assert second.returncode == 0, err
        assert "tiny: added" in out
        assert server.ranges_of("model.safetensors") == [f"bytes={had}-"]
    assert (store.folder_of(MODEL) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert told_folder(store) == "open/tiny/r1"


def test_the_second_of_two_commands_is_told(env: dict[str, str], tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    gate = threading.Event()
    with serving({f"/{name}": held for name, held in FILES.items()}, gate=gate) as server:
        first = command(env, server.url)
        wait_for(lambda: bytes_in(store.incoming) > 0, "the first bytes")
        second = command(env, server.url)
        _, err = second.communicate(timeout=DEADLINE_SECONDS)
        assert second.returncode == 1
        assert "being changed by another command" in err
        gate.set()
        assert first.wait(DEADLINE_SECONDS) == 0
        first.communicate()
    assert store.has(MODEL)


def may_mount() -> bool:
    """Whether this system lets us have a file system of our own."""
    if shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def test_a_disk_that_fills_up_is_said_and_what_came_is_kept(tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("no file system of one's own is to be had here")
    script = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -m tests.models_store.full_disk "$1"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable],
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    refused, seen, then, whole = done.stdout.splitlines()
    assert refused.startswith("refused: The disk of")
    assert "what came so far is kept" in refused
    assert seen == "visible: []"
    assert then == "then: True, went on at a byte past 1000000"
    assert whole == "whole: True"
