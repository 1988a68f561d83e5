"""The command `sublet` of a server's terminals: what it asks, prints, and ends with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import sublet
from sublet.command import main
from sublet.fields import rfc3339
from tests.extension.conftest import LEASE, Platform, quota_document, usage_document
from tests.extension.models_store import fill, make_model

PROBLEM = "https://sublet.dev/problems/"
EXTENSIONS = Path(sublet.__file__).parents[1]

Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(platform: Platform, capsys: pytest.CaptureFixture[str]) -> Ran:
    def sublet_(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(str(ended.code))
        return code, *capsys.readouterr()

    return sublet_


def test_quota(platform: Platform, run: Ran) -> None:
    code, out, err = run("quota")
    assert (code, err) == (0, "")
    assert "Account group:lab, which pays for this lease" in out
    assert "<" not in out


def test_lease(platform: Platform, run: Ran) -> None:
    platform.answer(LEASE)
    code, out, err = run("lease")
    assert (code, err) == (0, "")
    assert "$1.60 per hour for 2 GPUs; $1.20 so far" in out


def test_usage(platform: Platform, run: Ran) -> None:
    today = datetime.now(UTC).date()
    platform.answers["/quota"] = quota_document()
    for account in ("user:alice", "group:lab"):
        path = f"/usage?account={account.replace(':', '%3A')}&days={today.day}"
        platform.answers[path] = usage_document(account, today, today.day, {today.day: (3600, 0)})
    code, out, err = run("usage")
    assert (code, err) == (0, "")
    assert out.count("1 GPU-h") == 4
    _, as_json, _ = run("usage", "--json")
    assert [each["account"] for each in json.loads(as_json)] == ["group:lab", "user:alice"]
    assert json.loads(as_json)[0]["gpu_seconds"] == 3600


def test_json_is_what_the_platform_answers(platform: Platform, run: Ran) -> None:
    assert json.loads(run("quota", "--json")[1]) == quota_document()
    platform.answer(LEASE)
    for words in (("lease",), ("stop",), ("keep",), ("stop", "--at", "2098-01-01T12:00")):
        code, out, _ = run(*words, "--json")
        assert code == 0
        assert json.loads(out) == LEASE


def test_stop_soon(platform: Platform, run: Ran) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    platform.answer({**LEASE, "deadline_at": rfc3339(deadline), "deadline_reason": "user"})
    code, out, err = run("stop")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"This server stops in \d+ s; open documents are saved before.\n", out)
    assert len(platform.sent) == 1


def test_stop_at_a_time_of_day_is_the_next_one(platform: Platform, run: Ran) -> None:
    platform.answer({**LEASE, "deadline_reason": "user", "deadline_limit": None})
    for hours in (-1, 1):
        platform.sent.clear()
        wanted = datetime.now().astimezone() + timedelta(hours=hours)
        code, out, _ = run("stop", "--at", f"{wanted:%H:%M}")
        assert code == 0
        assert "as you have asked. Take it back with: sublet keep" in out
        ((path, body),) = platform.sent
        assert path == "/leases/lease-1/stop"
        at = datetime.fromisoformat(body["at"])
        assert f"{at.astimezone():%H:%M}" == f"{wanted:%H:%M}"
        assert timedelta() < at - datetime.now(UTC) <= timedelta(hours=25)


def test_stop_at_a_date_and_time_with_and_without_a_zone(platform: Platform, run: Ran) -> None:
    platform.answer(LEASE)
    run("stop", "--at", "2098-01-01T12:00+02:00")
    run("stop", "--at", "2098-01-01T12:00")
    at = [datetime.fromisoformat(body["at"]) for _, body in platform.sent]
    assert at == [datetime(2098, 1, 1, 10, tzinfo=UTC), datetime(2098, 1, 1, 12).astimezone()]


@pytest.mark.parametrize("time", ["", "25:00", "18", "1830", "soon", "2098-01-01", "2020-01-01T12:00"])
def test_a_time_that_is_none_stops_nothing(platform: Platform, run: Ran, time: str) -> None:
    code, out, err = run("stop", "--at", time)
    assert (code, out) == (2, "")
    assert "18:30" in err or "is over" in err
    assert platform.sent == platform.asked == []


def test_keep(platform: Platform, run: Ran) -> None:
    platform.answer(LEASE)
    code, out, _ = run("keep")
    assert code == 0
    assert out.startswith("This server is kept. It may run until ")
    assert platform.sent == [("/leases/lease-1/keep", {})]


@pytest.mark.parametrize(
    ("status", "name", "code"),
    [(409, "deadline-not-yours", 1), (403, "not-allowed", 4), (401, "not-signed-in", 4), (503, "unavailable", 3)],
)
def test_an_error_is_one_sentence(platform: Platform, run: Ran, status: int, name: str, code: int) -> None:
    platform.answer({"type": PROBLEM + name, "title": "No", "detail": "The quota of group:lab ends it."}, status)
    ended, out, err = run("keep", "--json")
    assert (ended, out) == (code, "")
    assert err.startswith("Error: The quota of group:lab ends it.")
    assert err.count("\n") == 1


def test_outside_a_lease(platform: Platform, run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBLET_LEASE_ID")
    code, out, err = run("lease")
    assert (code, out) == (3, "")
    assert err.startswith("Error: This Python does not run in a Sublet lease (SUBLET_LEASE_ID not set).")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help(platform: Platform, run: Ran, words: tuple[str, ...]) -> None:
    code, out, _ = run(*words)
    assert code == 0
    for name in ("quota", "lease", "usage", "stop", "keep", "exit status"):
        assert name in out
    assert platform.asked == []


@pytest.mark.parametrize("name", ["quota", "lease", "usage", "stop", "keep"])
def test_each_command_has_help(run: Ran, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "--json" in out
    assert "exit status" in out


def test_an_unknown_command(run: Ran) -> None:
    code, _, err = run("leases")
    assert code == 2
    assert "leases" in err


def test_it_takes_no_other_commands_place() -> None:
    """sublet-hub has a console script of this name: in one environment the two would overwrite each other."""
    packaging = tomllib.loads((EXTENSIONS / "pyproject.toml").read_text())
    assert "scripts" not in packaging["project"]
    data = packaging["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert data["terminal/sublet"] == "share/sublet/bin/sublet"
    assert os.access(EXTENSIONS / "terminal" / "sublet", os.X_OK)


def installed(folder: Path) -> Path:
    """The script where a wheel puts it, beside a Python that is this one."""
    script = folder / "share" / "sublet" / "bin" / "sublet"
    script.parent.mkdir(parents=True)
    shutil.copy(EXTENSIONS / "terminal" / "sublet", script)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={EXTENSIONS} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return script


def test_the_script_runs_the_package_beside_it(platform: Platform, tmp_path: Path) -> None:
    """Wherever one works, by whatever name it is called, and whatever lies there."""
    script = installed(tmp_path / "an environment")
    (tmp_path / "sublet.py").write_text("raise SystemExit('not this one')")
    link = tmp_path / "linked"
    link.symlink_to(script)
    platform.answer(LEASE)
    for command in (script, link):
        done = subprocess.run(
            [command, "lease"], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "group:lab" in done.stdout


def test_nobody_reads_to_the_end(platform: Platform) -> None:
    """`sublet quota | head -1`."""
    document = quota_document()
    document["accounts"] *= 5000
    platform.answer(document)
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -P -m sublet quota | head -1"],
        env={**os.environ, "PYTHONPATH": str(EXTENSIONS)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("Lease")
    assert done.stderr == ""


def test_models(platform: Platform, run: Ran) -> None:
    platform.answers["/models"] = []
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert "There are no models here yet" in out
    assert json.loads(run("models", "--json")[1]) == []


def test_where_a_model_lies(platform: Platform, run: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"notes.txt": b"x"}
    fill(tmp_path, (make_model("small", files), files))
    monkeypatch.setenv("SUBLET_MODELS_DIR", str(tmp_path))
    assert run("models", "small") == (0, f"{tmp_path}/open/small/main\n", "")
    assert json.loads(run("models", "small", "--json")[1])["path"] == f"{tmp_path}/open/small/main"
    code, out, err = run("models", "smell")
    assert (code, out) == (1, "")
    assert "Did you mean small?" in err
