"""Whatever runs in a lease is hostile ground: what it may not do to the platform, tried."""

import json
import os
import signal
import sys
from pathlib import Path

from sublet_hub.cluster import records
from sublet_hub.cluster.confinement import Level
from tests.cluster.machine import Machine, processes_named, until
from tests.cluster.test_life import start_stubborn

ATTACK = """\
import ctypes, glob, json, os, pathlib, signal, subprocess, sys

parent, child, data, lease = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]
libc = ctypes.CDLL(None, use_errno=True)
done = {}

def attempt(name, act):
    try:
        done[name] = act()
    except OSError as error:
        done[name] = "refused"

def shell(text):
    ran = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=20)
    return ran.stdout.strip() if ran.returncode == 0 else "refused"

def trace(pid):
    return "traced" if libc.ptrace(16, pid, 0, 0) == 0 else "refused"

folder = data / "leases" / lease
for name, pid in (("parent", parent), ("child", child), ("init", 1)):
    attempt(f"trace {name}", lambda: trace(pid))
    attempt(f"read {name}'s environment", lambda: pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode())
    attempt(f"look through {name}'s files", lambda: os.listdir(f"/proc/{pid}/fd"))
for name, pid in (("parent", parent), ("child", child)):
    attempt(f"kill {name}", lambda: os.kill(pid, signal.SIGKILL) or "killed")
attempt("read the secrets", (data / "secrets.json").read_text)
attempt("read the record", (folder / "record.jsonl").read_text)
attempt("read the deadline", (folder / "deadline").read_text)
attempt("write the deadline", lambda: (folder / "deadline").write_text("{}"))
attempt("make a folder in the data", lambda: (data / "leases" / "x").mkdir() or "made")
attempt("list the homes", lambda: [name for name in os.listdir(data / "homes") if name != "ann"] or "refused")
attempt("uncover", lambda: shell(f"unshare -Urm sh -c 'umount -l {data}; cat {data}/secrets.json'"))
attempt("bind past the cover", lambda: shell(
    f"mkdir -p m; unshare -Urm sh -c 'mount --bind {data.parent} m && cat m/{data.name}/secrets.json'"))
attempt("overlay past the cover", lambda: shell(
    f"mkdir -p m u w; unshare -Urm sh -c "
    f"'mount -t overlay -o lowerdir={data.parent},upperdir=u,workdir=w o m && cat m/{data.name}/secrets.json'"))
attempt("remount the platform writable", lambda: shell(
    f"unshare -Urm sh -c 'mount -o remount,rw,bind {sys.prefix} && touch {sys.prefix}/x'"))
attempt("write to the platform", lambda: pathlib.Path(sys.prefix, "x").write_text("x"))
attempt("enter the namespaces of init", lambda: shell("nsenter -t 1 -a true && echo entered"))
attempt("nest", lambda: shell("unshare -Urm echo nested"))
done["processes"] = len(glob.glob("/proc/[0-9]*"))
done["uid"] = os.getuid()
done["shared memory"] = os.listdir("/dev/shm")
done["tmp"] = os.listdir("/tmp")
pathlib.Path("/tmp/mine").write_text("x")
pathlib.Path("done.new").write_text(json.dumps(done))
os.rename("done.new", "done")
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTRAP):
    attempt("signal init", lambda: os.kill(1, number))
signal.pause()
"""
SHOW = "echo $HOME; pwd; touch here /tmp/there; script -qec 'echo tty' /dev/null; whoami"
CHECKOUT_IN_TMP = Path(__file__).parts[2:3] if Path(__file__).parts[1] == "tmp" else ()
"""What a server needs to run is shown to it, also where the checkout lies in /tmp."""
HARMLESS = {"refused", ""}


def attack(machine: Machine) -> tuple[str, dict[str, object]]:
    """Run every attack in a lease, and hear what came of them."""
    (machine.home / "attack.py").write_text(ATTACK)
    target = '"$(cat target)" "$(cat child)"'
    lease_id = machine.start(
        "sh",
        "-c",
        f"until [ -e child ]; do sleep 0.02; done; exec {sys.executable} attack.py {target} {machine.data} lease-1",
        environment={"PLATFORM": "secret"},
    )
    started = machine.record(lease_id).started
    assert started is not None
    (machine.home / "target").write_text(str(started.parent_pid))
    (machine.home / "child.new").write_text(str(started.child_pid))
    (machine.home / "child.new").rename(machine.home / "child")
    until((machine.home / "done").exists, "the attacks to be over")
    return lease_id, json.loads((machine.home / "done").read_text())


def test_user_code_reaches_nothing_of_the_platform(contained: Machine) -> None:
    lease_id, done = attack(contained)
    observed = contained.seen(lease_id)
    assert observed.running
    started = contained.record(lease_id).started
    assert started is not None
    assert contained.parents[lease_id].poll() is None

    assert done.pop("nest") in {"nested", "refused"}  # where it may, the mounts have been attacked from in there
    assert done.pop("uid") == contained.server_uid
    processes = done.pop("processes")
    assert isinstance(processes, int)
    assert processes <= 3
    assert done.pop("shared memory") == []
    assert set(map(str, done.pop("tmp"))) <= {contained.data.name, *CHECKOUT_IN_TMP}  # type: ignore[call-overload]  # a list
    assert {name: came for name, came in done.items() if came not in HARMLESS} == {}

    deadline_ms = records.wall_ms() + 300
    contained.arm(lease_id, deadline_ms)
    ended = contained.ended(lease_id)
    assert ended.cause == "deadline"
    assert ended.ended_at_ms is not None
    assert ended.ended_at_ms - deadline_ms < 1000


def test_user_code_may_end_its_own_lease_only(contained: Machine) -> None:
    other = contained.start("sleep", "600")
    lease_id = contained.start("sh", "-c", "kill -KILL -1; exit 0")
    assert contained.ended(lease_id).cause == "exited"
    assert contained.seen(other).running


def test_the_end_of_the_parent_is_the_end_of_all_its_processes(contained: Machine) -> None:
    lease_id, token = start_stubborn(contained)
    contained.parents[lease_id].send_signal(signal.SIGKILL)
    killed_ms = records.wall_ms()
    observed = contained.ended(lease_id)  # though its zombie is not reaped yet
    assert records.wall_ms() - killed_ms < 1000
    assert processes_named(token) == []
    assert (observed.cause, observed.exit_code) == ("lost", None)
    assert observed.ended_at_ms is not None
    assert abs(killed_ms - observed.ended_at_ms) < 1000
    again = contained.seen(lease_id)
    assert again == observed  # found out, not guessed: looking later changes nothing


def test_without_namespaces_the_end_of_the_parent_ends_the_server(plain: Machine) -> None:
    lease_id = plain.start("sleep", "612345")
    plain.parents[lease_id].send_signal(signal.SIGKILL)
    assert plain.ended(lease_id).cause == "lost"
    until(lambda: processes_named("612345") == [], "the server to be gone")


def test_the_server_has_a_name_a_home_and_a_terminal(contained: Machine) -> None:
    lease_id = contained.start("sh", "-c", SHOW)
    assert contained.ended(lease_id).exit_code == 0
    home, cwd, tty, name = contained.printed().replace("\r", "").splitlines()
    assert home == cwd == str(contained.home)
    assert tty == "tty"
    assert name == ("ann" if contained.level is Level.ROOT else "nobody" if os.geteuid() == 0 else name)
    assert (contained.home / "here").stat().st_uid == contained.server_uid


def test_a_device_that_is_not_its_own_cannot_be_opened(contained: Machine) -> None:
    """/dev/full stands for another lease's GPU."""
    lease_id = contained.start("sh", "-c", "echo x </dev/zero; exec </dev/full", hide=("/dev/full",))
    assert contained.ended(lease_id).exit_code != 0
    assert "x\n" in contained.printed()
    assert "Permission denied" in contained.printed()
