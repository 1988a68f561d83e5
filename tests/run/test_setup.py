"""What `make run` begins with: steps done once, redone when their inputs change, and locks that name no
place."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from scripts import setup

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (
    "images/hub/requirements.txt",
    "images/notebook/requirements.txt",
    "requirements-dev.txt",
    "scripts/build.txt",
    "scripts/models.txt",
    "scripts/uv.txt",
)


@pytest.fixture
def stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(setup, "SETUP", tmp_path)
    return tmp_path


class Counter:
    """A step's work: counts how often it was done, makes a file, and fails on demand."""

    def __init__(self, made: Path) -> None:
        self.made = made
        self.done = 0
        self.fails = False

    def __call__(self) -> None:
        if self.fails:
            raise setup.SetupFailed("no luck")
        self.done += 1
        self.made.touch()


def step(work: Counter, lock: Path, *, optional: bool = False) -> setup.Step:
    return setup.Step("one", "One", (lock, "python"), work.made, work, optional)


def test_a_step_is_done_once_and_again_after_a_change_or_a_loss(stamps: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1")
    work = Counter(tmp_path / "made")
    setup.carry_out([step(work, lock)])
    setup.carry_out([step(work, lock)])
    assert work.done == 1
    lock.write_text("a==2")
    setup.carry_out([step(work, lock)])
    assert work.done == 2
    work.made.unlink()
    setup.carry_out([step(work, lock)])
    assert work.done == 3


def test_a_failed_step_stops_the_setup_and_is_tried_again(stamps: Path, tmp_path: Path) -> None:
    (lock := tmp_path / "lock.txt").write_text("a==1")
    work = Counter(tmp_path / "made")
    work.fails = True
    with pytest.raises(setup.SetupFailed, match="no luck"):
        setup.carry_out([step(work, lock)])
    work.fails = False
    setup.carry_out([step(work, lock)])
    assert work.done == 1


def test_without_an_optional_step_the_rest_goes_on_and_it_is_said(
    stamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lock := tmp_path / "lock.txt").write_text("a==1")
    broken, fine = Counter(tmp_path / "torch"), Counter(tmp_path / "made")
    broken.fails = True
    setup.carry_out([step(broken, lock, optional=True), step(fine, lock)])
    assert fine.done == 1
    assert "NOT installed. no luck" in capsys.readouterr().out


def test_pips_configuration_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nfind-links = /a\n    /b\n[install]\nindex-url = mirror\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    setup.pip_option.cache_clear()
    try:
        assert setup.pip_option("find-links").split() == ["/a", "/b"]
        assert setup.uv_environment()["UV_DEFAULT_INDEX"] == "mirror"
    finally:
        setup.pip_option.cache_clear()


def test_an_old_python_can_read_the_script_far_enough_to_refuse() -> None:
    source = (ROOT / "scripts" / "setup.py").read_text()
    ast.parse(source, feature_version=(3, 7))
    first_statement = ast.parse(source).body[1:4]
    assert [type(node).__name__ for node in first_statement] == ["ImportFrom", "Import", "If"]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_hash_for_all_and_names_no_place(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "-i " not in text
    requirements = text.replace("\\\n", " ").splitlines()
    assert [line for line in requirements if line and not line.startswith("#") and "--hash=sha256:" not in line] == []


def test_the_notebook_lock_leaves_torch_out_but_not_what_it_needs() -> None:
    names = {line.partition("==")[0] for line in (ROOT / LOCKS[1]).read_text().splitlines() if "==" in line}
    assert "torch" not in names
    assert {"sympy", "networkx", "fsspec", "filelock", "jinja2", "typing-extensions", "setuptools"} <= names


@pytest.mark.parametrize("folder", ["proxy", "extensions/lab"])
def test_a_lock_of_npm_is_pinned_and_names_no_place(folder: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in packages.items() if "resolved" in package or "integrity" not in package] == []


def test_the_proxy_is_pinned() -> None:
    lock = json.loads((ROOT / "proxy" / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/configurable-http-proxy"]["version"] == "5.3.0"


def test_the_lab_step_depends_on_all_that_is_built() -> None:
    names = {path.relative_to(setup.LAB).as_posix() for path in setup.lab_sources()}
    assert {"src/index.ts", "style/base.css", "package-lock.json", "build.mjs", "tsconfig.build.json"} <= names
    assert not any(name.startswith(("lib/", "labextension/", "node_modules/")) for name in names)
