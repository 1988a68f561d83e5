"""In a real IPython kernel: tables, `%sublet`, `%%sublet cost`, and notices while a cell is busy."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.extension.conftest import LEASE, Platform, quota_document
from tests.extension.html_tags import Tags
from tests.extension.notebook_server import WAIT_SECONDS, NotebookServer, ending, notebook_server, notice

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-notebook" / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-notebook: run `make setup`")

Told = dict[str, Any]


def start(cells: Sequence[str], **env: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [PYTHON, Path(__file__).with_name("in_kernel.py")],
        env={**os.environ, **env, "PYTHONPATH": str(ROOT / "extensions")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(cells))
    process.stdin.close()
    process.stdin = None
    return process


def end(process: subprocess.Popen[str]) -> list[Told]:
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    answers: list[Told] = json.loads(out)
    return answers


def run(*cells: str, **env: str) -> list[Told]:
    """What became of the cells."""
    return end(start(cells, **env))


def shown(told: Told, kind: str = "text/html") -> str:
    """What a cell shows, of one kind."""
    return "\n".join(data.get(kind, "") for data in told["shown"])


def test_tables_and_line_magics(platform: Platform) -> None:
    platform.answers = {"/quota": quota_document(), "/leases/lease-1": LEASE}
    imported, quota, lease, again, called, wrong = run(
        "import sublet", "%sublet quota", "%sublet lease", "%load_ext sublet", "sublet.lease()", "%sublet money"
    )
    assert [told["status"] for told in (imported, quota, lease, again, called)] == ["ok"] * 5
    assert "Account group:lab, which pays for this lease" in Tags.of(shown(quota)).text
    assert "$1.60 per hour for 2 GPUs" in Tags.of(shown(lease)).text
    assert "$1.60 per hour for 2 GPUs" in shown(lease, "text/plain")
    assert shown(called) == shown(lease)
    assert wrong["status"] == "error"
    assert wrong["stderr"].startswith("UsageError: Use %sublet quota")
    assert [imported[what] for what in ("shown", "stdout", "stderr")] == [[], "", ""]


def test_load_ext_is_enough(platform: Platform) -> None:
    platform.answer(LEASE)
    _, lease = run("%load_ext sublet", "%sublet lease")
    assert "group:lab" in shown(lease)


def test_what_a_cell_cost(platform: Platform) -> None:
    platform.answer(LEASE)
    _, cell, later = run(
        "import sublet",
        "%%sublet cost\nimport time\ntime.sleep(0.5)\nprint('out')\nvalue = 6\n!echo from a shell\nvalue * 7",
        "value, _",
    )
    assert cell["status"] == "ok"
    assert cell["stdout"] == "out\nfrom a shell\r\n"
    report, value = cell["shown"]
    text = report["text/plain"]
    lines = {line[:13].strip(): line[13:].strip() for line in text.splitlines()[:4]}
    seconds = float(lines["Time"].removesuffix(" s"))
    assert 0.5 <= seconds < 30
    gpu_seconds = float(lines["GPU time"].partition(" GPU-s ")[0])
    assert abs(gpu_seconds - 2 * seconds) <= 0.02
    assert "(2 GPUs)" in lines["GPU time"]
    assert lines["Utilisation"] == "not known: the GPU is simulated"
    money, _, price = lines["Money"].partition(", at ")
    assert abs(float(money.removeprefix("$")) - seconds * 1.6 / 3600) < 0.00002
    assert price == "$1.60 per hour for 2 GPUs"
    assert "in the ledger" in text
    assert "in the ledger" in Tags.of(report["text/html"]).text
    assert value["text/plain"] == "42"
    assert shown(later, "text/plain") == "(6, 42)"


def test_a_cell_that_fails_fails_and_is_reported(platform: Platform) -> None:
    platform.answer(LEASE)
    _, cell, wrong = run(
        "import sublet", "%%sublet cost\ndef mine():\n    return 1 / 0\n\nmine()", "%%sublet cost\nthis is no Python"
    )
    assert cell["status"] == "error"
    (error,) = cell["errors"]
    assert error["ename"] == "ZeroDivisionError"
    traceback = "\n".join(error["traceback"])
    assert "mine" in traceback
    assert "magics.py" not in traceback
    assert "GPU time" in shown(cell, "text/plain")
    assert [each["ename"] for each in wrong["errors"]] == ["SyntaxError"]


def test_without_the_platform_a_cell_runs_and_no_cost_is_made_up(platform: Platform) -> None:
    platform.status = 503
    _, cell = run("import sublet", "%%sublet cost\n6 * 7")
    assert cell["status"] == "ok"
    assert [data["text/plain"] for data in cell["shown"]] == ["42"]
    assert "What it cost can't be told:" in cell["stderr"]


def test_outside_a_lease_no_cell_is_run(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBLET_LEASE_ID")
    _, cell = run("import sublet", "%%sublet cost\nprint('ran')")
    assert cell["status"] == "error"
    assert cell["stdout"] == ""
    assert cell["stderr"].startswith("UsageError: This Python does not run in a Sublet lease")


REGISTER = """
import os, pathlib, sublet, threading, time
called = threading.Event()
def busy():
    pathlib.Path(os.environ["BUSY"]).touch()

@sublet.on_notice
def save(notice):
    print("heard", notice.reason, notice.ending)
    called.set()
"""
COMPUTE = """
busy()
latest = time.monotonic() + 60
while not called.is_set() and time.monotonic() < latest:
    sum(range(1000))
print("called while busy" if called.is_set() else "not called")
"""
SLEEP = """
busy()
latest = time.monotonic() + 60
while not called.is_set() and time.monotonic() < latest:
    time.sleep(0.5)
print("called while busy" if called.is_set() else "not called")
"""


def hearing(tmp_path: Path, event: dict[str, Any], *cells: str) -> tuple[NotebookServer, list[Told]]:
    """Run cells, and say something while the last one is busy."""
    busy = tmp_path / "busy"
    with notebook_server() as server:
        process = start(cells, SUBLET_EVENTS_SOCKET=str(server.path), BUSY=str(busy))
        server.wait_connected()
        latest = time.monotonic() + WAIT_SECONDS
        while not busy.exists():
            assert time.monotonic() < latest
        server.say(event)
        server.wait_done()
        return server, end(process)


@pytest.mark.parametrize("busy", [COMPUTE, SLEEP], ids=["computing", "sleeping"])
def test_a_notice_comes_while_a_cell_is_busy(tmp_path: Path, busy: str) -> None:
    server, (_, cell) = hearing(tmp_path, notice(reason="reclaim"), REGISTER, busy)
    assert cell["status"] == "ok"
    assert cell["stdout"] == "heard reclaim False\ncalled while busy\n"
    assert server.heard[0] == {"kernel": "the-id", "callbacks": 1}
    assert [each["error"] for each in server.done] == [None]


def test_one_that_raises_shows_its_traceback_in_the_notebook(tmp_path: Path) -> None:
    server, (_, cell) = hearing(tmp_path, ending("idle"), REGISTER + "    raise KeyError('lost')\n", COMPUTE)
    assert "KeyError: 'lost'" in cell["stderr"]
    assert [each["error"] for each in server.done] == ["KeyError"]
    assert cell["status"] == "ok"
