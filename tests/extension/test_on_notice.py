"""`sublet.on_notice` against a stand-in of the notebook server's socket."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import sublet
from sublet import listening, notices
from tests.extension.notebook_server import WAIT_SECONDS, NotebookServer, ending, notebook_server, notice

PACKAGES = str(Path(sublet.__file__).parents[1])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NotebookServer]:
    """A server, and a process in which nothing is registered yet."""
    state = notices._State()
    monkeypatch.setattr(notices, "_state", state)
    monkeypatch.setattr(listening, "FIRST_WAIT_SECONDS", 0.02)
    with notebook_server() as stand_in:
        monkeypatch.setenv("SUBLET_EVENTS_SOCKET", str(stand_in.path))
        yield stand_in
        state.stop()


def test_a_notice_is_heard_and_told_of(server: NotebookServer) -> None:
    heard: list[tuple[sublet.Notice, str]] = []

    @sublet.on_notice
    def save(each: sublet.Notice) -> None:
        heard.append((each, threading.current_thread().name))

    server.wait_connected()
    server.say(notice(seconds=300))
    server.wait_done()
    ((told, thread),) = heard
    assert (told.reason, told.ending) == ("quota", False)
    assert told.sentence == "GPU time of group:lab is used up in 5 minutes. Save your work."
    assert told.deadline.tzinfo is UTC
    assert 0 < (told.deadline - datetime.now(UTC)).total_seconds() <= 300
    assert 270 < told.seconds_left < 300
    assert thread == "sublet-callbacks"
    with pytest.raises(FrozenInstanceError):
        told.reason = "other"  # type: ignore[misc]
    first, running, done = server.heard
    assert first == {"kernel": None, "callbacks": 1}
    assert done["done"] == running["running"]
    assert isinstance(running["running"], str)
    assert done["seconds"] >= 0
    assert done["error"] is None


def test_the_end_is_heard_too(server: NotebookServer) -> None:
    heard: list[sublet.Notice] = []
    sublet.on_notice(heard.append)
    server.wait_connected()
    server.say(ending("reclaim", 20))
    server.wait_done()
    (told,) = heard
    assert told.ending
    assert told.reason == "reclaim"
    assert "the owner took the GPUs back" in told.sentence
    assert 10 < told.seconds_left < 20


def test_one_that_raises_is_shown_and_stops_no_other(
    server: NotebookServer, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []

    @sublet.on_notice
    def broken(each: sublet.Notice) -> None:
        raise KeyError("the secret of alice")

    @sublet.on_notice
    def leaves(each: sublet.Notice) -> None:
        sys.exit("no")

    sublet.on_notice(lambda each: order.append(each.reason))
    server.wait_connected()
    server.say(notice())
    server.wait_done(3)
    assert order == ["quota"]
    assert [each["error"] for each in server.done] == ["KeyError", "SystemExit", None]
    assert "secret" not in str(server.heard)
    err = capsys.readouterr().err
    assert "broken failed" in err
    assert 'raise KeyError("the secret of alice")' in err
    assert "listening.py" not in err
    # The thread lives on.
    server.say(notice("n2"))
    server.wait_done(6)
    assert order == ["quota", "quota"]


def held_up(order: list[str]) -> tuple[threading.Event, threading.Event]:
    """Register two functions, the first of which tells that it is called, and waits to be let go on."""
    first_is_in, go_on = threading.Event(), threading.Event()

    def first(each: sublet.Notice) -> None:
        first_is_in.set()
        go_on.wait(30)
        order.append(f"first {each.reason}")

    sublet.on_notice(first)
    sublet.on_notice(lambda each: order.append(f"second {each.reason}"))
    return first_is_in, go_on


def test_they_run_one_after_another_in_the_order_they_came(server: NotebookServer) -> None:
    order: list[str] = []
    first_is_in, go_on = held_up(order)
    server.wait_connected()
    server.say(notice("n1", "quota"), notice("n2", "reclaim"))
    assert first_is_in.wait(30)
    assert order == []
    go_on.set()
    server.wait_done(4)
    assert order == ["first quota", "second quota", "first reclaim", "second reclaim"]


def test_the_end_is_not_kept_waiting_by_a_warning(server: NotebookServer) -> None:
    """What runs is let run; then all are called for the end. That is how the server counts them, too."""
    order: list[str] = []
    first_is_in, go_on = held_up(order)
    server.wait_connected()
    server.say(notice("n1", "quota"), notice("n2", "reclaim"))
    assert first_is_in.wait(30)
    server.say(ending("user"))
    assert notices._state._listener is not None
    assert notices._state._listener._end_waits.wait(30)
    go_on.set()
    server.wait_done(3)
    assert order == ["first quota", "first user", "second user"]


def test_how_many_there_are_is_told_as_it_changes(server: NotebookServer) -> None:
    def one(each: sublet.Notice) -> None: ...
    def other(each: sublet.Notice) -> None: ...

    sublet.on_notice(one)
    server.wait_connected()
    sublet.on_notice(other)
    sublet.on_notice(other)
    sublet.off_notice(one)
    sublet.off_notice(one)
    server.wait(lambda: len(server.heard) >= 5, "five lines")
    assert [each["callbacks"] for each in server.heard] == [1, 2, 2, 1, 1]
    server.say(notice())
    server.wait_done()
    assert len(server.done) == 1


def test_a_cell_that_is_run_twice_registers_once(server: NotebookServer) -> None:
    order: list[str] = []
    for number in "12":
        space: dict[str, Any] = {"sublet": sublet, "order": order, "__name__": "__main__"}
        code = f"@sublet.on_notice\ndef save(notice): order.append('{number}')"
        exec(code, space)
    server.wait_connected()
    server.say(notice())
    server.wait_done()
    assert order == ["2"]


def test_methods_of_two_things_are_two(server: NotebookServer) -> None:
    class Run:
        def __init__(self) -> None:
            self.saved = 0

        def save(self, each: sublet.Notice) -> None:
            self.saved += 1

    one, other = Run(), Run()
    sublet.on_notice(one.save)
    sublet.on_notice(other.save)
    sublet.on_notice(other.save)
    server.wait_connected()
    server.say(notice())
    server.wait_done(2)
    assert (one.saved, other.saved) == (1, 1)
    sublet.off_notice(one.save)
    server.say(notice("n2"))
    server.wait_done(3)
    assert (one.saved, other.saved) == (1, 2)


def test_it_connects_again_and_hears_nothing_twice(server: NotebookServer) -> None:
    heard: list[sublet.Notice] = []
    sublet.on_notice(heard.append)
    server.wait_connected()
    one = notice("n1")
    server.say(one)
    server.wait_done(1)
    server.close()
    server.listen()
    server.wait_connected(2)
    server.say(one, notice("n2", "reclaim"))
    server.wait_done(2)
    assert [each.reason for each in heard] == ["quota", "reclaim"]


def test_a_server_that_is_not_there_yet_is_waited_for(
    server: NotebookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    server.close()
    heard: list[sublet.Notice] = []
    sublet.on_notice(heard.append)
    latest = time.monotonic() + WAIT_SECONDS
    while not err.getvalue().endswith("\n"):
        assert time.monotonic() < latest
        time.sleep(0.01)
    server.listen()
    server.wait_connected()
    server.say(notice())
    server.wait_done()
    assert len(heard) == 1
    assert err.getvalue().count("\n") == 1
    assert "notices can't be heard at the moment" in err.getvalue()


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[]\n",
        b"{}\n",
        b'{"event": ["notice"]}\n',
        b'{"event": "notice", "notice": null, "deadline_at": "2099-01-01T00:00:00Z"}\n',
        b'{"event": "ending", "reason": "quota", "until": "soon"}\n',
        b'{"event": "of tomorrow", "more": 1}\n',
        b'"' + b"x" * 200_000 + b'"\n',
    ],
)
def test_lines_that_are_none_do_no_harm(server: NotebookServer, line: bytes) -> None:
    heard: list[sublet.Notice] = []
    sublet.on_notice(heard.append)
    server.wait_connected()
    server.say(line, notice())
    server.wait_done()
    assert len(heard) == 1


def test_outside_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBLET_EVENTS_SOCKET", raising=False)
    monkeypatch.delenv("SUBLET_LEASE_ID", raising=False)
    with pytest.raises(sublet.NotInALease, match="SUBLET_EVENTS_SOCKET not set"):
        sublet.on_notice(print)


def test_in_a_lease_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBLET_EVENTS_SOCKET", raising=False)
    monkeypatch.setenv("SUBLET_LEASE_ID", "lease-1")
    with pytest.raises(sublet.Unavailable, match="seconds_left"):
        sublet.on_notice(print)


async def _coroutine(each: sublet.Notice) -> None: ...


@pytest.mark.parametrize("what", [None, "save", _coroutine])
def test_what_is_no_plain_function(server: NotebookServer, what: Any) -> None:
    with pytest.raises(TypeError, match="plain function"):
        sublet.on_notice(what)
    assert server.heard == []


def script(server: NotebookServer, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": PACKAGES, "SUBLET_EVENTS_SOCKET": str(server.path), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_plain_script_that_computes_hears_it(server: NotebookServer) -> None:
    process = script(
        server,
        """
        import sublet
        saved = []
        @sublet.on_notice
        def save(notice):
            saved.append(notice)
        while not saved:
            sum(range(1000))
        print(saved[0].reason)
        """,
    )
    server.wait_connected()
    server.say(notice())
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "quota\n", "")


def test_a_script_ends_as_it_would_without(server: NotebookServer) -> None:
    process = script(server, "import sublet; sublet.on_notice(print)")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_a_forked_process_has_none_of_them(server: NotebookServer) -> None:
    process = script(
        server,
        """
        import os, sublet
        from sublet import notices
        sublet.on_notice(print)
        child = os.fork()
        if child == 0:
            os._exit(len(notices._state.callbacks()))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(notices._state.callbacks()))
        """,
    )
    out, _ = process.communicate(timeout=60)
    assert out == "0 1\n"
