"""`sublet.cluster` in a real kernel of a user who holds a lease, against the whole platform."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dask.running import DaskUser
from tests.extension.html_tags import Tags
from tests.extension.test_in_kernel import PYTHON, Told, run, shown
from tests.fixtures.platform import Platform, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if not PYTHON.with_name("dask").exists():
        pytest.skip("Dask is not in the users' environment; `make setup` installs it")
    folder = tmp_path_factory.mktemp("platform")
    folder.chmod(0o711)
    running = Platform(folder, settings={"SUBLET_DASK": "true"}).start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def environment(platform: Platform) -> dict[str, str]:
    """What a server of alice's is told, which runs on the processors."""
    alice = DaskUser.of(platform, "alice")
    alice.session.start_server(flavor="cpu", tier="guaranteed").raise_for_status()
    wait_until(lambda: (alice.session.server() or {}).get("ready"), 60, "alice's server runs")
    (lease,) = [each for each in platform.leases(user="alice") if each["kind"] == "notebook"]
    return {
        "SUBLET_API_URL": f"{platform.url}/services/sublet/api",
        "SUBLET_LEASE_ID": lease["id"],
        "SUBLET_DASK_URL": f"http://127.0.0.1:{platform.port + 85}/services/dask",
        "JUPYTERHUB_API_TOKEN": alice.token,
    }


def error_of(told: Told) -> str:
    (error,) = told["errors"]
    return f"{error['ename']}: {error['evalue']}"


def workers(platform: Platform) -> list[str]:
    """Flavor, tier and state of each worker's lease, newest first."""
    found = [each for each in platform.leases(user="alice") if each["kind"] == "worker"]
    return [f"{each['flavor']} {each['tier']} {each['state']}" for each in found]


def test_from_a_cell_to_leases_and_back(platform: Platform, environment: dict[str, str]) -> None:
    _, over, begun, computed, held, closed = run(
        "import sublet",
        "sublet.cluster(gpus=3, flavor='simulated-gpu-1x', tier='surplus')",
        "cluster = sublet.cluster(gpus=2, flavor='simulated-gpu-1x', tier='surplus')",
        "import os, dask.array as da\n"
        "client = cluster.get_client()\n"
        "print(int(da.arange(1000, chunks=100).sum().compute()))\n"
        "print(*sorted(client.run(lambda: os.environ['SUBLET_LEASE_ID']).values()))",
        "cluster.scale(3)",
        "cluster.close()",
        **environment,
    )
    assert error_of(over).startswith(
        "Refused: 3 GPUs can't be had now. The limit of 2 GPUs at once in the default quota"
    )
    assert error_of(over).endswith(" 2 GPUs would fit.")
    assert begun["status"] == "ok", begun
    assert "2 of 2 ready, each a lease of simulated-gpu-1x (surplus). All came within" in Tags.of(shown(begun)).text
    assert "GPUs at once: 2" in shown(begun, "text/plain")
    assert "/services/dask/clusters/" in shown(begun)  # the dashboard
    total, leases = computed["stdout"].splitlines()
    assert total == "499500"
    held_ids = sorted(each["id"] for each in platform.leases(user="alice") if each["kind"] == "worker")
    assert leases.split() == held_ids
    assert error_of(held).startswith("Refused: ")
    assert "2 GPUs at once in the default quota" in error_of(held)
    assert closed["status"] == "ok"
    wait_until(
        lambda: workers(platform) == ["simulated-gpu-1x surplus ended"] * 2, 60, "the workers' leases are over"
    )
