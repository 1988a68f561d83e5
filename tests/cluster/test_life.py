"""From start to end: what the supervising parent does and records."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sublet_hub.cluster import records
from sublet_hub.cluster.base import LeaseUnknownError
from sublet_hub.cluster.confinement import Level
from sublet_hub.cluster.inside import EXIT_REFUSED
from tests.cluster.machine import Machine, processes_named, until

ROUNDED_MS = 1
"""The end is the start by the wall clock and what the steady one has counted since, each in whole milliseconds."""

STUBBORN = """\
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("daemon", "w").close()
        time.sleep(600)
    os._exit(0)
{rest}
"""


def start_stubborn(machine: Machine, *, rest: str = "time.sleep(600)", lasts_ms: int = 60_000) -> tuple[str, str]:
    """Start a server that ignores SIGTERM, as does a daemon it has sent into the background.

    Also returns a word that is on the command lines of these two, and not on that of their parent.
    """
    token = f"token-{os.urandom(8).hex()}"
    (machine.home / "token").write_text(token)
    (machine.home / "stubborn.py").write_text(STUBBORN.format(rest=rest))
    run = f'exec {sys.executable} stubborn.py "$(cat token)"'
    lease_id = machine.start("sh", "-c", run, lasts_ms=lasts_ms)
    until((machine.home / "daemon").exists, "the daemon")
    until(lambda: len(processes_named(token)) == 2, "the end of the one between the server and its daemon")
    return lease_id, token


def test_start_and_end_are_when_the_server_says_and_its_exit_code_goes_through(machine: Machine) -> None:
    began = records.wall_ms()
    lease_id = machine.start("sh", "-c", "date +%s%3N >times; sleep 0.5; date +%s%3N >>times; exit 7")
    observed = machine.ended(lease_id)

    said_start, said_end = map(int, (machine.home / "times").read_text().split())
    assert observed.started_at_ms is not None
    assert observed.ended_at_ms is not None
    assert began <= observed.started_at_ms <= said_start + 1
    assert -ROUNDED_MS <= observed.ended_at_ms - said_end < 1000
    assert (observed.cause, observed.exit_code, observed.running) == ("exited", 7, False)
    assert machine.parents[lease_id].wait() == 7


def test_a_signal_shows_as_a_shell_shows_it(machine: Machine) -> None:
    lease_id = machine.start("sh", "-c", "kill -KILL $$")
    assert machine.ended(lease_id).exit_code == 128 + signal.SIGKILL


def test_a_running_lease_is_reported_with_its_deadline(machine: Machine) -> None:
    lease_id = machine.start("sleep", "600")
    machine.arm(lease_id, 4_000_000_000_000)
    observed = machine.seen(lease_id)
    assert observed.running
    assert observed.armed_deadline_ms == 4_000_000_000_000
    started = machine.record(lease_id).started
    assert started is not None
    assert started.sandbox == machine.level


def test_a_deadline_moved_in_ends_it_then(machine: Machine) -> None:
    lease_id = machine.start("sleep", "600")
    deadline_ms = records.wall_ms() + 600
    machine.arm(lease_id, deadline_ms)
    observed = machine.ended(lease_id)
    assert observed.cause == "deadline"
    assert observed.ended_at_ms is not None
    assert -ROUNDED_MS <= observed.ended_at_ms - deadline_ms < 1000


def test_a_deadline_moved_out_lets_it_run_on(machine: Machine) -> None:
    first_ms = records.wall_ms() + 1500
    lease_id = machine.start("sleep", "600", lasts_ms=1500)
    machine.arm(lease_id, first_ms + 60_000)
    until(lambda: records.wall_ms() > first_ms + 1000, "the first deadline to be well past")
    assert machine.seen(lease_id).running


def test_a_deadline_file_that_makes_no_sense_leaves_the_last_good_one(machine: Machine) -> None:
    lease_id = machine.start("sleep", "600", lasts_ms=4000)
    deadline_ms = machine.seen(lease_id).armed_deadline_ms
    assert deadline_ms is not None
    file = machine.data / "leases" / lease_id / records.DEADLINE
    file.write_text('{"deadline_at_ms": 1e99', encoding="utf-8")
    until(lambda: "the last one holds" in machine.log(lease_id), "the parent to complain")
    file.unlink()
    observed = machine.ended(lease_id)
    assert (observed.cause, observed.armed_deadline_ms) == ("deadline", None)
    assert observed.ended_at_ms is not None
    assert -ROUNDED_MS <= observed.ended_at_ms - deadline_ms < 1000


def test_what_ignores_sigterm_is_killed_within_a_second_with_its_daemons(machine: Machine) -> None:
    lease_id, token = start_stubborn(machine, lasts_ms=2500)
    observed = machine.ended(lease_id)
    assert processes_named(token) == []  # the end was recorded after the last of them was gone
    assert observed.armed_deadline_ms is not None
    assert observed.ended_at_ms is not None
    assert -ROUNDED_MS <= observed.ended_at_ms - observed.armed_deadline_ms < 1000
    assert (observed.cause, observed.exit_code) == ("deadline", 137)


def test_a_daemon_does_not_outlive_its_server(machine: Machine) -> None:
    lease_id, token = start_stubborn(machine, rest="time.sleep(0.5); sys.exit(3)")
    observed = machine.ended(lease_id)
    assert (observed.cause, observed.exit_code) == ("exited", 3)
    assert processes_named(token) == []


def test_stop_is_graceful(machine: Machine) -> None:
    lease_id = machine.start(
        "sh", "-c", 'trap "sleep 0.5; echo saved >notebook; exit 0" TERM; touch up; sleep 600 & wait'
    )
    until((machine.home / "up").exists, "the server")
    with machine.platform() as cluster:
        cluster.stop(lease_id)
    observed = machine.ended(lease_id)
    assert (observed.cause, observed.exit_code) == ("stop", 0)
    assert (machine.home / "notebook").read_text() == "saved\n"


def test_stop_ends_what_does_not_want_to(machine: Machine) -> None:
    lease_id, token = start_stubborn(machine)
    with machine.platform() as cluster:
        cluster.stop(lease_id)
    asked_ms = records.wall_ms()
    observed = machine.ended(lease_id)
    assert observed.cause == "stop"
    assert observed.ended_at_ms is not None
    assert observed.ended_at_ms - asked_ms < 3000
    assert processes_named(token) == []


def test_a_server_ends_when_the_process_that_needs_it_is_killed(machine: Machine) -> None:
    """Nobody asked for that end, so it is the server's own; its deadline is far away."""
    with subprocess.Popen(["sleep", "600"]) as owner:
        try:
            lease_id = machine.start("sleep", "600", owner=owner.pid)
            before_ms = records.boottime_ms()
            until(lambda: records.boottime_ms() > before_ms + 600, "the parent to have looked twice")
            assert machine.seen(lease_id).running
        finally:
            owner.kill()
    observed = machine.ended(lease_id)
    assert observed.cause == "exited"
    assert "is gone" in machine.log(lease_id)


def test_a_lease_stopped_before_its_start_never_starts(plain: Machine) -> None:
    with plain.platform() as cluster:
        cluster.prepare("lease-1", records.wall_ms() + 60_000)
        cluster.stop("lease-1")
    folder = plain.data / "leases" / "lease-1"
    command = ["--lease-dir", str(folder), "--deadline-ms", str(records.wall_ms() + 60_000)]
    command += ["--uid", str(os.getuid() or 65534), "--sandbox", "none", "--", "touch", str(plain.home / "ran")]
    parent = [sys.executable, "-I", "-m", "sublet_hub.cluster.supervisor"]
    assert subprocess.run([*parent, *command], check=False).returncode == EXIT_REFUSED
    assert not (plain.home / "ran").exists()
    assert plain.record("lease-1").started is None


def test_a_lease_is_started_once_only(machine: Machine) -> None:
    lease_id = machine.start("true")
    machine.ended(lease_id)
    command = machine.parents[lease_id].args
    assert isinstance(command, list)
    again = subprocess.run(command, cwd=machine.home, check=False, capture_output=True)
    assert again.returncode == EXIT_REFUSED
    assert b"record can't be begun" in again.stderr


def test_without_a_record_of_its_start_there_is_no_server(machine: Machine) -> None:
    """A limit on the size of files stands for a full disk."""
    lease_id = machine.start("touch", "ran", wait=False, before=("prlimit", "--fsize=0"))
    assert machine.parents[lease_id].wait() == EXIT_REFUSED
    assert not (machine.home / "ran").exists()
    assert machine.record(lease_id).started is None


def test_a_server_is_never_run_as_root(plain: Machine) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be refused it")
    with plain.platform() as cluster:
        folder = cluster.prepare("lease-1", records.wall_ms() + 60_000)
    command = ["--lease-dir", str(folder), "--deadline-ms", str(records.wall_ms() + 60_000), "--", "true"]
    parent = [sys.executable, "-I", "-m", "sublet_hub.cluster.supervisor"]
    refused = subprocess.run([*parent, *command], check=False, capture_output=True, text=True)
    assert refused.returncode == EXIT_REFUSED
    assert "never run as root" in refused.stderr


def test_a_command_that_does_not_exist_ends_as_in_a_shell(machine: Machine) -> None:
    lease_id = machine.start("no-such-command")
    assert machine.ended(lease_id).exit_code == 127
    assert "no-such-command" in machine.log(lease_id)


def test_the_start_and_end_do_not_follow_the_wall_clock(
    machine: Machine, stepped_clock: Path, tmp_path: Path
) -> None:
    """Set the clock of a parent an hour back while its server runs: the span it records stays true."""
    offset = machine.data / "offset"
    offset.write_text("0")
    offset.chmod(0o644)
    lease_id = machine.start(
        "sh",
        "-c",
        "until [ -e go ]; do sleep 0.05; done",
        environment={"LD_PRELOAD": str(stepped_clock), "CLOCK_OFFSET_FILE": str(offset)},
    )
    started = machine.record(lease_id).started
    assert started is not None
    offset.write_text("-3600")
    before_ms = records.boottime_ms()
    until(lambda: records.boottime_ms() > before_ms + 600, "the parent to have ticked on")
    (machine.home / "go").touch()
    observed = machine.ended(lease_id)
    assert observed.ended_at_ms is not None
    assert 600 <= observed.ended_at_ms - started.at_ms < 600 + 20_000


def test_forgotten_leases_are_kept_but_not_seen(machine: Machine) -> None:
    lease_id = machine.start("sh", "-c", "echo hello; echo big >/tmp/left")
    machine.ended(lease_id)
    machine.parents[lease_id].wait()
    with machine.platform() as cluster:
        cluster.forget(lease_id)
        cluster.forget(lease_id)
        assert cluster.observe() == ()
        with pytest.raises(LeaseUnknownError):
            cluster.arm(lease_id, 0, "quota")
    archived = machine.data / "leases" / "closed" / lease_id
    assert machine.printed() == "hello\n"
    assert "hello" not in (archived / records.LOG).read_text()
    assert records.read_record(archived).ended is not None
    if machine.level is not Level.NONE:
        until(lambda: not (archived / records.SCRATCH).exists(), "the private /tmp to be removed")
