"""The lease folder: what is understood, what is tolerated, what is refused."""

import json
from pathlib import Path

import pytest

from sublet_hub.cluster import records
from sublet_hub.cluster.server_log import ServerLog

STARTED = records.Started(
    at_ms=1_000_000,
    boottime_ms=5_000,
    boot_id="this-boot",
    child_pid=11,
    child_ticks=12,
    parent_pid=13,
    parent_ticks=14,
    sandbox="root",
)
ENDED = records.Ended(at_ms=1_002_000, cause="deadline", exit_code=143)


def written(folder: Path) -> str:
    pen = records.RecordWriter(folder)
    pen.write(STARTED)
    pen.write(ENDED)
    return (folder / records.RECORD).read_text()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    assert records.read_record(tmp_path) == records.Record(STARTED, ENDED)


def test_no_record_is_one_that_says_nothing(tmp_path: Path) -> None:
    assert records.read_record(tmp_path) == records.Record()


def test_a_record_cut_off_anywhere_says_what_its_whole_lines_say(tmp_path: Path) -> None:
    text = written(tmp_path)
    first = text.index("\n") + 1
    for length in range(len(text)):
        expected = records.Record(STARTED if length >= first else None)
        assert records.parse_record(text[:length]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "garbage\n",
        "[1]\n",
        '{"event": "ended", "at_ms": 1, "cause": "exited", "exit_code": 0}\n',
        '{"event": "started", "at_ms": "soon"}\n',
        json.dumps({"event": "started", **STARTED._asdict(), "at_ms": True}) + "\n",
        json.dumps({"event": "started", **STARTED._asdict()}) + "\n{}\n",
        json.dumps({"event": "started", **STARTED._asdict()}) + "\n\0\0\0\0\n",
        json.dumps({"event": "started", **STARTED._asdict()}) + '\n{"event": "ended", "cause": "boredom"}\n',
        (json.dumps({"event": "started", **STARTED._asdict()}) + "\n") * 2,
    ],
)
def test_any_other_damage_is_an_error(text: str) -> None:
    with pytest.raises(records.RecordError):
        records.parse_record(text)


def test_a_record_is_for_one_run(tmp_path: Path) -> None:
    records.RecordWriter(tmp_path)
    with pytest.raises(FileExistsError):
        records.RecordWriter(tmp_path)


@pytest.mark.parametrize("text", ["", "12", "x" * 20, "\0" * 20, "9" * 21])
def test_a_heartbeat_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    assert records.read_alive(tmp_path) is None
    (tmp_path / records.ALIVE).write_text(text)
    assert records.read_alive(tmp_path) is None


def test_the_last_heartbeat_counts(tmp_path: Path) -> None:
    pen = records.RecordWriter(tmp_path)
    pen.alive(999_999_999)
    pen.alive(1_000_000_000)
    pen.alive(7)
    assert records.read_alive(tmp_path) == 7


def test_a_moved_deadline_is_told_once(tmp_path: Path) -> None:
    pen = records.RecordWriter(tmp_path)
    assert pen.rearmed() is None
    records.write_deadline(tmp_path, 42, "quota")
    assert pen.rearmed() == 42
    assert pen.rearmed() is None
    records.write_deadline(tmp_path, 42, "reclaim")
    assert pen.rearmed() == 42
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "deadline", "record.jsonl"]


@pytest.mark.parametrize("text", ["", "{", "7", '{"deadline_at_ms": 1.5}', '{"deadline_at_ms": -1}', "[]", "\0"])
def test_a_deadline_that_makes_no_sense_is_an_error_to_the_parent_and_none_to_the_platform(
    tmp_path: Path, text: str
) -> None:
    pen = records.RecordWriter(tmp_path)
    (tmp_path / records.DEADLINE).write_text(text)
    with pytest.raises(records.RecordError):
        pen.rearmed()
    assert pen.rearmed() is None
    assert records.read_deadline(tmp_path) is None


def test_the_server_s_log_is_kept_small_and_its_end_kept(tmp_path: Path) -> None:
    log = ServerLog(tmp_path)
    log.say("begun")
    log.keep_small()
    assert (tmp_path / records.LOG).read_text() == "sublet: begun\n"
    with (tmp_path / records.LOG).open("ab") as server:  # as a server does, which appends
        server.write(b"x" * 17 * 1024 * 1024 + b"last")
        server.flush()
        log.keep_small()
        server.write(b"on")
    assert (tmp_path / records.LOG).read_text() == "on"
    older = (tmp_path / f"{records.LOG}.1").read_bytes()
    assert older.endswith(b"xlast")
    assert len(older) == 1024 * 1024
