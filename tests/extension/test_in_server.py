"""`sublet.on_notice` in a kernel of a real notebook server with the extension, in a lease of a stand-in platform."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extension.server.conftest import lease_environment
from tests.extension.server.jupyter import PYTHON, Jupyter, jupyter, kernel_runs, wait_for
from tests.extension.server.stand_in import StandIn, notice, stand_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-notebook: run `make setup`"),
]

BUSY = """
import sublet

@sublet.on_notice
def note(notice):
    with open("heard", "a") as file:
        file.write(f"{notice.reason} {notice.ending} {notice.seconds_left >= 0}\\n")

while True:
    sum(range(1000))
"""


@pytest.fixture
def started() -> Iterator[tuple[StandIn, Jupyter]]:
    with tempfile.TemporaryDirectory(prefix="sub") as folder, stand_in() as platform:
        options = ("--SubletServer.ending_seconds=10", "--SubletServer.interrupt_seconds=1")
        with jupyter(Path(folder), lease_environment(platform), *options) as server:
            yield platform, server


def test_a_busy_kernel_hears_the_warning_and_the_end(started: tuple[StandIn, Jupyter]) -> None:
    platform, server = started
    kernel_runs(server, BUSY)
    heard = server.home / "heard"
    platform.warn(notice("n1", 300, reason="reclaim"))
    wait_for(lambda: heard.exists() and heard.read_text().endswith("\n"))
    assert heard.read_text() == "reclaim False True\n"
    platform.move_deadline(9)
    wait_for(lambda: heard.read_text().count("\n") == 2)
    assert heard.read_text().splitlines()[1].endswith(" True True")
