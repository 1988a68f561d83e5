"""What the cluster of one machine makes of the folders it finds."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sublet_hub.cluster import processes, records
from sublet_hub.cluster.base import Cluster, LeaseUnknownError, Observed
from sublet_hub.cluster.local import LocalCluster, ServerSpec, python_paths, spawn_command
from sublet_hub.cluster.supervisor import parser
from tests.cluster.machine import Machine
from tests.cluster.test_records import ENDED, STARTED


def put(folder: Path, *lines: object) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / records.RECORD).write_text(text)


def started(**changes: object) -> dict[str, object]:
    return {"event": "started", **STARTED._asdict(), "boot_id": processes.boot_id(), **changes}


def running_as_parent() -> dict[str, object]:
    """Make this very process the parent of a record."""
    return started(parent_pid=os.getpid(), parent_ticks=processes.start_ticks(os.getpid()))


def test_it_is_a_cluster(tmp_path: Path) -> None:
    cluster: Cluster = LocalCluster(tmp_path)
    assert cluster.observe() == ()


def test_a_prepared_lease_has_not_started(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    folder = cluster.prepare("a", 42)
    assert folder == tmp_path / "leases" / "a"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert cluster.observe() == (Observed("a", None, None, None, None, 42),)
    cluster.arm("a", 43, "quota")
    (observed,) = cluster.observe()
    assert observed.armed_deadline_ms == 43
    assert not observed.running


@pytest.mark.parametrize("lease_id", ["", "closed", "../x", "a/b", ".a", "a" * 200, "a\n", "ä"])
def test_no_lease_id_leads_out_of_the_folder(tmp_path: Path, lease_id: str) -> None:
    cluster = LocalCluster(tmp_path)
    with pytest.raises(ValueError, match="id of a lease"):
        cluster.prepare(lease_id, 42)
    with pytest.raises(LeaseUnknownError):
        cluster.arm(lease_id, 1, "quota")
    with pytest.raises(LeaseUnknownError):
        cluster.stop(lease_id)


def test_broken_records_hide_nothing_and_say_so(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    for name in ("broken", "fine", "torn"):
        cluster.prepare(name, 42)
    leases = tmp_path / "leases"
    (leases / "broken" / records.RECORD).write_text("rubbish\n")
    put(leases / "fine", running_as_parent())
    (leases / "torn" / records.RECORD).write_text('{"event": "sta')
    (leases / "a-file").touch()
    broken, fine, torn = cluster.observe()
    assert broken.broken is not None
    assert "rubbish" in broken.broken
    assert not broken.running
    assert fine.running
    assert torn == Observed("torn", None, None, None, None, 42)


def test_an_end_torn_off_is_dated_to_the_last_heartbeat(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    folder = cluster.prepare("a", 42)
    put(folder, started(parent_ticks=-1))
    with (folder / records.RECORD).open("a") as record:
        record.write('{"event": "ended", "at_')
    (folder / records.ALIVE).write_text(f"{STARTED.at_ms + 1234:20d}")
    assert cluster.observe() == (Observed("a", STARTED.at_ms, STARTED.at_ms + 1234, "lost", None, 42),)


def test_without_a_heartbeat_a_lost_lease_ended_as_it_started(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    put(cluster.prepare("a", 42), started(parent_ticks=-1))
    (observed,) = cluster.observe()
    assert observed.ended_at_ms == STARTED.at_ms


def test_a_pid_that_was_handed_out_again_is_another_process(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    put(cluster.prepare("a", 42), {**running_as_parent(), "parent_ticks": 1})
    (observed,) = cluster.observe()
    assert observed.cause == "lost"
    cluster.stop("a")  # does not end this test


def test_after_a_reboot_nothing_runs(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    put(cluster.prepare("a", 42), {**running_as_parent(), "boot_id": "another"})
    (observed,) = cluster.observe()
    assert observed.cause == "lost"
    cluster.stop("a")


def test_a_server_that_outlives_its_parent_is_killed_at_sight(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    orphan = subprocess.Popen(["sleep", "600"])
    ticks = processes.start_ticks(orphan.pid)
    put(cluster.prepare("a", 42), started(parent_ticks=-1, child_pid=orphan.pid, child_ticks=ticks))
    (observed,) = cluster.observe()
    assert observed.running
    assert orphan.wait(timeout=20) == -9
    (observed,) = cluster.observe()
    assert observed.cause == "lost"


def test_an_ended_lease_is_reported_until_it_is_forgotten(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    put(cluster.prepare("a", 42), started(), {"event": "ended", **ENDED._asdict()})
    ended = Observed("a", STARTED.at_ms, ENDED.at_ms, "deadline", 143, 42)
    assert cluster.observe() == cluster.observe() == (ended,)
    cluster.forget("a")
    assert cluster.observe() == ()


def test_closed_leases_are_not_even_read(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    for name in ("a", "b"):
        put(cluster.prepare(name, 42), "rubbish")
        cluster.forget(name)
    closed = tmp_path / "leases" / "closed"
    before = closed.stat().st_atime_ns
    assert cluster.observe() == ()
    assert closed.stat().st_atime_ns == before
    assert sorted(path.name for path in closed.iterdir()) == ["a", "b"]


def test_the_command_says_what_the_spec_says(tmp_path: Path) -> None:
    spec = ServerSpec(
        argv=("jupyterhub-singleuser", "--port", "1", "--", "x"),
        deadline_ms=42,
        home=Path("/data/homes/ann"),
        uid=200_001,
        gid=200_002,
        user="ann",
        hide=(Path("/data"), Path("/dev/nvidia1")),
        read_only=(Path("/venv"),),
        writable=(Path("/shared"),),
        offered=(Path("/data/models/open"),),
        sandbox="require",
        stop_grace_seconds=3,
    )
    command = spawn_command(Path("/data/leases/a"), spec)
    assert command[:4] == [sys.executable, "-I", "-m", "sublet_hub.cluster.supervisor"]
    options = vars(parser().parse_args(command[4:]))
    assert options == {
        "lease_dir": Path("/data/leases/a"),
        "deadline_ms": 42,
        "home": Path("/data/homes/ann"),
        "uid": 200_001,
        "gid": 200_002,
        "user": "ann",
        "hide": [Path("/data"), Path("/dev/nvidia1")],
        "read_only": [Path("/venv")],
        "writable": [Path("/shared")],
        "offered": [Path("/data/models/open")],
        "sandbox": "require",
        "term_grace": 0.7,
        "stop_grace": 3.0,
        "owner": None,
        "owner_ticks": 0,
        "argv": ["jupyterhub-singleuser", "--port", "1", "--", "x"],
    }


def test_a_python_needs_its_environment_and_the_one_beneath(tmp_path: Path) -> None:
    base, venv = tmp_path / "base", tmp_path / "venv"
    for folder in (base / "bin", venv / "bin"):
        folder.mkdir(parents=True)
    (base / "bin" / "python3").touch()
    (venv / "bin" / "python").symlink_to(base / "bin" / "python3")
    (venv / "pyvenv.cfg").write_text(f"home = {base}/bin\nversion = 3\n")
    assert python_paths(venv / "bin" / "python") == (venv, base)
    assert python_paths(base / "bin" / "python3") == (base,)


def test_where_no_namespaces_are_to_be_had_the_policy_decides(plain: Machine) -> None:
    """`auto` starts the server without, and says so; `require` doesn't start it."""
    before = plain.without_namespaces()
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs user namespaces, to forbid them inside one")
    required = plain.start("touch", "ran", before=before, sandbox="require", wait=False)
    assert plain.parents[required].wait() == 125
    assert "one is required" in plain.log(required)
    assert not (plain.home / "ran").exists()

    lease_id = plain.start("true", before=before, sandbox="auto")
    plain.ended(lease_id)
    run = plain.record(lease_id).started
    assert run is not None
    assert run.sandbox == "none"
    assert "level user is not to be had here" in plain.log(lease_id)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which alone can run servers as others")
def test_as_root_without_namespaces_each_user_still_has_an_id_of_their_own(plain: Machine, tmp_path: Path) -> None:
    uid = 200_321
    cluster = LocalCluster(plain.data)
    plain.data.chmod(0o711)
    os.chown(plain.home, uid, uid)
    deadline_ms = records.wall_ms() + 60_000

    def run(lease_id: str, needed: Path) -> int:
        folder = cluster.prepare(lease_id, deadline_ms)
        spec = ServerSpec(
            argv=("sh", "-c", "id -u; cat ../../secrets.json; kill -9 $PPID; exit 3"),
            deadline_ms=deadline_ms,
            home=plain.home,
            uid=uid,
            read_only=(needed,),
            sandbox="none",
        )
        return subprocess.run(spawn_command(folder, spec), check=False, start_new_session=True).returncode

    assert run("a", Path("/usr")) == 3
    said = plain.printed()
    assert said.startswith("200321\n")
    assert said.count("Permission denied") + said.count("not permitted") == 2

    closed = tmp_path / "closed"
    (closed / "venv").mkdir(parents=True)
    closed.chmod(0o700)
    assert run("b", closed / "venv") == 125
    assert f"users may not pass {closed}" in plain.log("b")
