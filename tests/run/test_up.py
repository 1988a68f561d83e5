"""What `sublet up` does with its parts: order, restarts, stops, kills, and a second start."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess

import pytest

from tests.run.conftest import DEADLINE_SECONDS, Runner, wait_for

pytestmark = pytest.mark.timeout(400)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> int:
    process.send_signal(number)
    return process.wait(DEADLINE_SECONDS)


def test_starts_the_proxy_first_and_stops_who_has_leases_before_the_meter_before_the_rest(runner: Runner) -> None:
    process = runner.start_ready()
    assert runner.events()[0].startswith("proxy started")
    assert {line.split()[0] for line in runner.events()[1:]} == {"hub", "api", "gateway", "meter"}
    assert stop(process) == 0
    stopped = ["hub stopped", "gateway stopped", "meter stopped", "api stopped", "proxy stopped"]
    assert runner.events()[5:] == stopped


def test_prints_the_address_and_both_passwords(runner: Runner) -> None:
    process = runner.start_ready()
    credentials = dict(line.split("=") for line in (runner.data / "credentials").read_text().splitlines())
    assert f"http://127.0.0.1:{runner.port('PORT')}" in runner.output()
    assert credentials["admin_password"] in runner.output()
    assert credentials["user_password"] in runner.output()
    assert credentials["admin_token"] not in runner.output()
    assert "Ctrl-C stops everything" in runner.output()
    stop(process)


def test_keeps_all_data_over_a_second_run(runner: Runner) -> None:
    kept = ("credentials", "secrets.json", "sublet.toml")
    stop(runner.start_ready())
    before = {name: (runner.data / name).read_bytes() for name in kept}
    stop(runner.start_ready(), signal.SIGTERM)
    assert {name: (runner.data / name).read_bytes() for name in kept} == before
    assert runner.starts_of("hub") == 2


def test_what_is_secret_is_nobody_elses_to_read(runner: Runner) -> None:
    stop(runner.start_ready())
    private = ["credentials", "secrets.json", "sublet.sqlite", "up.lock", "logs/hub.log"]
    readable = [name for name in private if stat.S_IMODE((runner.data / name).stat().st_mode) & 0o077]
    assert readable == []
    assert stat.S_IMODE(runner.data.stat().st_mode) == 0o711


def test_a_second_start_says_who_is_there_and_harms_nothing(runner: Runner) -> None:
    first = runner.start_ready()
    second = runner.start()
    assert second.wait(DEADLINE_SECONDS) == 2
    assert f"process {first.pid}, at http://127.0.0.1:{runner.port('PORT')}" in runner.output(1)
    assert first.poll() is None
    assert stop(first) == 0


def test_a_part_that_dies_is_started_again(runner: Runner) -> None:
    process = runner.start_ready()
    for name in ("hub", "api", "gateway", "meter"):
        os.kill(runner.pid_of(name), signal.SIGKILL)
        wait_for(lambda name=name: runner.starts_of(name) == 2, f"{name} to be started again")  # type: ignore[misc]
    assert process.poll() is None
    assert stop(process) == 0


def test_a_new_proxy_has_the_hub_put_its_routes_back(runner: Runner) -> None:
    process = runner.start_ready()
    os.kill(runner.pid_of("proxy"), signal.SIGKILL)
    wait_for(lambda: "hub was told /hub/api/proxy" in runner.events(), "the hub to be told")
    assert stop(process) == 0


def test_when_up_is_killed_its_parts_die_and_the_next_start_works(runner: Runner) -> None:
    process = runner.start_ready()
    parts = [runner.pid_of(name) for name in ("proxy", "hub", "api", "meter")]
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in parts), "the parts to die with it")
    assert stop(runner.start_ready()) == 0


def test_a_part_that_does_not_stop_in_time_is_killed(runner: Runner) -> None:
    process = runner.start_ready(STUB_STUBBORN="hub", SUBLET_STOP_TIMEOUT_SECONDS="1")
    assert stop(process) == 0
    assert "hub did not stop in time" in runner.output()
    assert not is_alive(runner.pid_of("hub"))


def test_a_second_ctrl_c_ends_it_at_once_but_one_that_arrives_twice_does_not(runner: Runner) -> None:
    process = runner.start_ready(STUB_STUBBORN="hub", SUBLET_STOP_TIMEOUT_SECONDS="3600")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "hub was asked to stop" in runner.events(), "the stop to begin")
    assert process.poll() is None

    def ended() -> bool:
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    wait_for(ended, "the end", every_seconds=1.2)
    assert not is_alive(runner.pid_of("hub"))


def test_a_ctrl_c_before_anything_has_started_is_a_stop_like_any_other(runner: Runner) -> None:
    process = runner.start(STUB_HASTY="yes")
    assert process.wait(DEADLINE_SECONDS) == 0
    assert "Stopped; 0 servers were ended." in runner.output()
    assert stop(runner.start_ready()) == 0


def test_a_port_in_use_is_named_with_the_setting_that_moves_it(runner: Runner) -> None:
    with socket.create_server(("127.0.0.1", runner.port("HUB_PORT"))):
        process = runner.start()
        assert process.wait(DEADLINE_SECONDS) == 1
    assert f"Port {runner.port('HUB_PORT')} is in use by process {os.getpid()}" in runner.output()
    assert "SUBLET_HUB_PORT" in runner.output()
    assert runner.events() == []


def test_a_part_that_cannot_start_shows_its_own_last_words(runner: Runner) -> None:
    process = runner.start(STUB_BROKEN="api")
    assert process.wait(DEADLINE_SECONDS) == 1
    assert "api ended with exit code 1" in runner.output()
    assert "api is broken on purpose" in runner.output()
    assert not is_alive(runner.pid_of("proxy"))


def test_a_wrong_setting_is_named(runner: Runner) -> None:
    stop(runner.start_ready())
    (runner.data / "sublet.toml").write_text('[[flavors]]\nname = "x"\n')
    process = runner.start()
    assert process.wait(DEADLINE_SECONDS) == 1
    assert "flavors.0.title" in runner.output(1)


def test_a_misspelt_setting_in_the_environment_is_pointed_out(runner: Runner) -> None:
    process = runner.start(SUBLET_SLICE_SECOND="5")
    wait_for(lambda: "SUBLET_SLICE_SECOND is no setting" in runner.output(), "the hint")
    stop(process)
