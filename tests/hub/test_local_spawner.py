"""Servers on this machine, under real supervising parents: what they are given, see, and how they end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.spawner import SpawnException

from sublet_hub.cluster import devices, gpus, processes, records
from sublet_hub.models_store import Store
from tests.hub.conftest import wait_for
from tests.hub.fake_api import FakeApi

FAKE = Path(__file__).with_name("fake_singleuser.py")
AS_ROOT = os.geteuid() == 0

Make = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("secrets_around")


@pytest.fixture
def secrets_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of the platform in the hub's environment, none of which may reach a server."""
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "secret-of-the-proxy")
    monkeypatch.setenv("SUBLET_DATABASE_URL", "postgresql://secret-of-the-database")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-owner")
    monkeypatch.setenv("PYTHONPATH", "/secret-of-the-path")
    monkeypatch.setenv("LANG", "C.UTF-8")


def options_for(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    return {
        "sublet_data": str(tmp_path / "data"),
        "sublet_notebook_python": sys.executable,
        "sublet_readable": [str(FAKE.parent)],
        "cmd": [sys.executable, str(FAKE), *arguments],
        "sublet_stop_grace": 1.0,
    }


async def start(make: Make, tmp_path: Path, *arguments: str, flavor: str = "sim-1x", **traits: Any) -> Any:
    spawner = make(**{**options_for(tmp_path, *arguments), **traits})
    spawner.user_options = {"flavor": flavor}
    await spawner.start()
    return spawner


def seen_by(spawner: Any, tmp_path: Path) -> dict[str, Any]:
    """What the server of a spawner wrote down about itself."""
    (home,) = (tmp_path / "data" / "homes").iterdir()
    wait_for((home / "seen.json").exists, "the server to run")
    return dict(json.loads((home / "seen.json").read_text(encoding="utf-8")))


def record_of(spawner: Any, tmp_path: Path) -> records.Record:
    return records.read_record(tmp_path / "data" / "leases" / spawner.lease_id)


async def test_a_server_is_given_its_lease_and_devices_and_nothing_of_the_hubs(local: Make, tmp_path: Path) -> None:
    spawner = await start(local, tmp_path)
    env = seen_by(spawner, tmp_path)["env"]
    assert env["CUDA_VISIBLE_DEVICES"] == "SIM-0"
    assert env["SUBLET_SIMULATED"] == "1"
    assert env["SUBLET_STOP_GRACE_SECONDS"] == "1"
    assert env["SUBLET_LEASE_ID"] == spawner.lease_id
    assert env["JUPYTER_RUNTIME_DIR"] == f"/tmp/jupyter-{spawner.lease_id}"
    assert env["USER"] == "alice"
    assert env["LANG"] == "C.UTF-8"
    assert env["JUPYTERHUB_API_TOKEN"] == "servers-own-token"
    assert spawner.sublet_api_token not in env.values()
    assert [name for name, value in env.items() if "secret-of" in value] == []
    allowed = (
        "JUPYTERHUB_",
        "JUPYTER_",
        "JPY_",
        "SUBLET_",
        "CUDA_",
        "LANG",
        "LC_",
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
    )
    assert [name for name in env if not name.startswith(allowed)] == []


async def test_a_flavor_without_gpus_sees_none(local: Make, tmp_path: Path) -> None:
    spawner = await start(local, tmp_path, flavor="cpu")
    env = seen_by(spawner, tmp_path)["env"]
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert "SUBLET_SIMULATED" not in env


async def test_a_server_does_not_see_the_platforms_data(local: Make, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    (data / "secrets.json").write_text("{}")
    spawner = await start(local, tmp_path, str(data), str(data / "leases"), sublet_sandbox="auto")
    seen = seen_by(spawner, tmp_path)
    started = record_of(spawner, tmp_path).started
    assert started is not None
    if started.sandbox == "none":
        pytest.skip("this system allows no namespaces")
    assert seen["readable"][str(data / "leases")] is False
    if AS_ROOT:
        assert seen["uid"] >= 200_000


async def test_a_server_is_shown_what_is_open_and_what_its_lease_may_read(
    local: Make, tmp_path: Path, api: FakeApi
) -> None:
    store = Store(tmp_path / "data" / "models")
    store.prepare(["accepted", "refused"])
    looked_at = [store.open, store.gated / "accepted", store.gated / "refused", store.incoming]
    for folder in looked_at:
        (folder / "r1").mkdir()
    (tmp_path / "link").symlink_to(store.root)
    api.models = ["accepted"]
    spawner = await start(local, tmp_path, *map(str, looked_at), sublet_models=str(tmp_path / "link"))
    seen = seen_by(spawner, tmp_path)
    assert seen["env"]["SUBLET_MODELS_DIR"] == str(store.root)
    started = record_of(spawner, tmp_path).started
    assert started is not None
    if started.sandbox == "none":
        pytest.skip("this system allows no namespaces")
    assert [seen["readable"][str(folder)] for folder in looked_at] == [True, True, False, False]


@pytest.mark.parametrize("name", ["../secrets", "", "a/b", ".."])
async def test_what_is_no_models_name_is_never_shown(local: Make, tmp_path: Path, api: FakeApi, name: str) -> None:
    Store(tmp_path / "data" / "models").prepare()
    api.models = [name]
    with pytest.raises(SpawnException):
        await start(local, tmp_path, sublet_models=str(tmp_path / "data" / "models"))


@pytest.mark.parametrize("name", ["ann lee@example.org", "../../etc", "Ünï", "root"])
async def test_any_user_name_has_a_home_of_its_own_and_needs_no_system_user(
    local: Make, tmp_path: Path, name: str
) -> None:
    spawner = await start(local, tmp_path, user=name)
    seen = seen_by(spawner, tmp_path)
    assert Path(seen["cwd"]).parent == tmp_path / "data" / "homes"
    assert seen["env"]["HOME"] == seen["cwd"]
    assert seen["env"]["JUPYTERHUB_USER"] == name
    if AS_ROOT:
        assert seen["uid"] >= 200_000


async def test_a_server_runs_on_over_a_restart_of_the_hub_and_is_found_again(local: Make, tmp_path: Path) -> None:
    spawner = await start(local, tmp_path)
    assert os.getsid(spawner.pid) == spawner.pid, "in a session of its own: the hub's end doesn't reach it"
    again = local(**options_for(tmp_path))
    again.load_state(spawner.get_state())
    assert await again.poll() is None
    await again.stop()
    assert await again.poll() == 0
    spawner.proc.wait(20)  # the child of this process is still ours to take leave of
    ended = record_of(spawner, tmp_path).ended
    assert ended is not None
    assert ended.cause == "stop"


async def test_another_process_with_the_same_pid_is_not_taken_for_the_server(local: Make, tmp_path: Path) -> None:
    pid = os.getpid()
    ticks = processes.start_ticks(pid)
    assert ticks is not None
    spawner = local(**options_for(tmp_path))
    for state in (
        {"pid": pid, "start_ticks": ticks + 1, "boot_id": processes.boot_id()},
        {"pid": pid, "start_ticks": ticks, "boot_id": "before the reboot"},
        {"pid": pid},
    ):
        spawner.load_state(state)
        assert await spawner.poll() == 0
        assert not await spawner._signal(signal.SIGKILL)
    spawner.load_state({"pid": pid, "start_ticks": ticks, "boot_id": processes.boot_id()})
    assert await spawner.poll() is None


async def test_without_a_server_nothing_runs(local: Make, tmp_path: Path) -> None:
    assert await local(**options_for(tmp_path)).poll() == 0


async def test_the_end_at_the_deadline_is_noticed(local: Make, tmp_path: Path, api: FakeApi) -> None:
    api.lease_seconds = 1.5
    spawner = await start(local, tmp_path)
    deadline = time.monotonic() + 20
    while await spawner.poll() is None:
        assert time.monotonic() < deadline, "the server outlived its lease"
        time.sleep(0.02)  # noqa: ASYNC251 — nothing else runs in this loop
    ended = record_of(spawner, tmp_path).ended
    assert ended is not None
    assert ended.cause == "deadline"


async def test_a_server_that_can_not_be_started_is_refused_and_gives_its_lease_back(
    local: Make, tmp_path: Path, api: FakeApi
) -> None:
    api.lease_seconds = -1  # the parent refuses to start what is over already
    spawner = local(**options_for(tmp_path))
    spawner.user_options = {"flavor": "sim-1x"}
    with pytest.raises(SpawnException) as refused:
        await spawner.start()
    assert refused.value.reason == "not-started"
    assert str(tmp_path) not in refused.value.message
    (lease_id,) = api.leases
    assert api.asked("POST", f"/{lease_id}/stop")


async def test_a_parent_that_does_not_come_up_is_not_waited_for_for_ever(
    local: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = ["sleep", "60"]
    monkeypatch.setattr("sublet_hub.hub.supervised_spawner.spawn_command", lambda *_: sleeper)
    spawner = local(**options_for(tmp_path), sublet_start_seconds=0.2)
    spawner.user_options = {"flavor": "cpu"}
    with pytest.raises(SpawnException, match="not started"):
        await spawner.start()
    assert spawner.proc.wait(20) == -signal.SIGKILL


def test_a_lease_can_not_open_the_device_files_of_other_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [tmp_path / name for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm")]
    for node in nodes:
        node.touch()
    found = [
        gpus.Device(f"GPU-{number}", "H100", 7000, 0, node=str(tmp_path / f"nvidia{number}")) for number in range(2)
    ]
    monkeypatch.setattr(devices, "DEVICES", tmp_path)
    monkeypatch.setattr(gpus, "discover", lambda: found)
    assert devices.other_device_nodes(["GPU-1"]) == (nodes[0],)
    assert devices.other_device_nodes(["GPU-0", "GPU-1"]) == ()
    assert devices.other_device_nodes([]) == devices.other_device_nodes(["SIM-0"]) == (nodes[0], nodes[1])
