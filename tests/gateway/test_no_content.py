"""Nothing of what is asked or answered is kept: a marked prompt goes through success, errors and a crash, with debug
logging on, and then every log, database, metric, journal and temporary file is searched for the mark."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import httpx
import pytest

from tests.gateway.conftest import World
from tests.gateway.running import CHAT, body

pytestmark = pytest.mark.slow

MARK = "zyxmark-7b1f-content"
ANSWER = "alpha beta"
"""The upstream's own words, which are content as well."""

MODES = (
    "good",
    "fails",
    "drops",
    "garbage",
    "wrong-type",
    "refuses",
    "no-usage",
    "dies",
    "cut",
    "overloaded",
    "absurd",
)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their paths."""
    found = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                found[str(path)] = path.read_bytes()
        except OSError:
            continue  # it has just been taken away
    return found


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_no_word_is_kept_anywhere(world: World, temporary: Path) -> None:
    token = world.user("ann")
    gateway = world.another(debug=True, settings={"TMPDIR": str(temporary), "SUBLET_MODEL_CALL_SECONDS": "3"})
    for mode in MODES:
        for stream in (False, True):
            gateway.chat(f"[{mode}] {MARK}", token, stream=stream, max_tokens=4)
    with gateway.client(token) as client:
        for stream in (False, True):
            said = {"model": "tiny", "input": f"[cut] {MARK}", "stream": stream, "metadata": {MARK: MARK}}
            client.post("/services/models/v1/responses", json=said)
    gateway.chat(MARK * 10_000, token)
    gateway.chat(f"[hangs] {MARK}", token)
    gateway.chat(MARK, token, model=MARK)
    gateway.chat(MARK, f"{MARK}-token")
    gateway.chat(MARK, token, model="gated")
    gateway.chat(MARK, token, model="gone")
    gateway.chat(MARK, token, max_tokens=MARK)
    with gateway.client(token) as client:
        client.post(CHAT, content=f'{{"model": "tiny", "messages": [{{"content": "{MARK}')
        client.get(f"/services/models/v1/{MARK}")
        client.request(MARK.upper(), CHAT, headers={"X-Request-Id": MARK, "Content-Type": MARK, "User-Agent": MARK})
        with client.stream("POST", CHAT, json=body(f"[slow] {MARK}", stream=True)) as answer:
            next(answer.iter_lines())
    with pytest.raises(httpx.RemoteProtocolError):
        _send(gateway.port, f"GET /{MARK} HTTP/1.1\r\nbroken {MARK}\x00\r\n\r\n")
    metrics = httpx.get(f"{gateway.url}/services/models/metrics", trust_env=False).text
    gateway.kill()  # with calls in its memory
    kept = bytes_of(world.data) | bytes_of(temporary) | {"metrics": metrics.encode()}
    kept["database"] = pickle.dumps(_everything(world))
    assert len(kept["metrics"]) > 1000
    assert " DEBUG " in gateway.log(), "debug logging was on"
    guilty = [name for name, content in kept.items() if MARK.encode() in content or ANSWER.encode() in content]
    assert guilty == []


def test_the_search_finds_what_is_kept(world: World, tmp_path: Path) -> None:
    """Whatever is written under the folders that are searched would be found."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text(f"a word {MARK} within")
    assert [name for name, content in bytes_of(tmp_path).items() if MARK.encode() in content]
    shutil.rmtree(tmp_path / "deep")
    assert MARK.encode() in pickle.dumps({"x": MARK})


def test_not_even_an_error_of_ours_tells(capfd: pytest.CaptureFixture[str]) -> None:
    """An exception with content in its message, through every way by which one gets into a log."""
    import asyncio
    import logging
    import sys

    from sublet_hub.gateway import quiet

    before = logging.getLogger().handlers[:], logging.getLogger().level, sys.excepthook
    try:
        quiet.keep_quiet(logging.DEBUG)
        try:
            raise ValueError(MARK)
        except ValueError as error:
            logging.getLogger("sublet_hub.gateway.x").exception("it failed")
            logging.getLogger("aiohttp.server").exception("bad line %r", MARK)
            logging.getLogger("asyncio").debug(MARK)
            sys.excepthook(ValueError, error, error.__traceback__)

        async def fail() -> None:
            quiet.keep_loop_quiet(asyncio.get_running_loop())
            asyncio.get_running_loop().call_exception_handler({"message": MARK, "exception": ValueError(MARK)})

        asyncio.run(fail())
    finally:
        root = logging.getLogger()
        root.handlers[:], sys.excepthook = before[0], before[2]
        root.setLevel(before[1])
    written = capfd.readouterr().err
    assert written.count("ValueError") >= 4
    assert "it failed" in written
    assert MARK not in written


def test_a_crash_leaves_no_core(world: World) -> None:
    assert world.gateway.process is not None
    limits = Path(f"/proc/{world.gateway.process.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


def _everything(world: World) -> object:
    """All that the memory store keeps."""
    return {name: repr(value) for name, value in vars(world.api.books.store).items()}


def _send(port: int, text: str) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text.encode())
        answer = connection.recv(4096)
    if b"400" in answer.split(b"\r\n")[0] or not answer:
        raise httpx.RemoteProtocolError("refused")
