"""In a terminal of a real notebook server: the command is found, and the search path is the spawner's."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.websocket import websocket_connect

from tests.extension.server.jupyter import PYTHON, TOKEN, WAIT_SECONDS, Jupyter, jupyter
from tests.extension.server.stand_in import LEASE_ID, stand_in
from tests.extension.server.stand_in import TOKEN as LEASE_TOKEN

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-notebook: run `make setup`")


@pytest.fixture
def server() -> Iterator[Jupyter]:
    with tempfile.TemporaryDirectory(prefix="sub") as folder, stand_in() as platform:
        env = {"SUBLET_API_URL": platform.url, "SUBLET_LEASE_ID": LEASE_ID, "JUPYTERHUB_API_TOKEN": LEASE_TOKEN}
        platform.others[LEASE_ID] = platform.lease
        with jupyter(Path(folder), {**env, "SHELL": "/bin/bash"}) as started:
            yield started


async def typed(server: Jupyter, command: str) -> str:
    """What a new terminal shows until the command, which is one line, is over."""
    name = server.client.post("api/terminals").json()["name"]
    line = await websocket_connect(f"ws://{server.url}/terminals/websocket/{name}?token={TOKEN}")
    seen = ""
    try:
        # What is typed is shown as well; only what is printed has the 7.
        await line.write_message(json.dumps(["stdin", f"{command}; echo over-$((3 + 4))\r"]))
        while "over-7" not in seen:
            kind, *rest = json.loads(str(await line.read_message()))
            seen += rest[0] if kind == "stdout" else ""
    finally:
        line.close()
    return seen


async def test_the_command_is_there_in_a_terminal(server: Jupyter) -> None:
    seen = await asyncio.wait_for(typed(server, "which python; which sublet; sublet lease"), WAIT_SECONDS)
    lines = seen.splitlines()
    assert str(PYTHON) in lines
    assert f"{PYTHON.parents[1]}/share/sublet/bin/sublet" in lines
    assert "$1.60 per hour for 2 GPUs" in seen
