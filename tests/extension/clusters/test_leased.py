"""`sublet.cluster(gpus=…)` in a real kernel, against Dask-Gateway as it comes; the api is one of the tests' own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sublet_hub.dask.commands import worker_arguments
from sublet_hub.dask.wishes import Part
from tests.extension.clusters.platform_says import LIMIT_REACHED, choice, flavor, says
from tests.extension.clusters.stock_gateway_text import NEVER, REFUSED
from tests.extension.conftest import Platform
from tests.extension.html_tags import Tags
from tests.extension.test_in_kernel import PYTHON, Told, run, shown
from tests.fixtures.nvml import compile_nvml
from tests.fixtures.platform import ROOT, free_port, wait_until

CONFIG = Path(__file__).with_name("stock_gateway.py")
SERVER = Path(sys.executable).with_name("dask-gateway-server")
MOST = 3
SIGNED_IN = {"Authorization": "jupyterhub the-token"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass
class Gateway:
    url: str
    log: Path

    def clusters(self) -> dict[str, Any]:
        """Those that run or are about to."""
        found: dict[str, Any] = httpx.get(
            f"{self.url}/api/v1/clusters/", headers=SIGNED_IN, timeout=30, trust_env=False
        ).json()
        return found

    def listens(self) -> bool:
        try:
            return self.clusters() == {}
        except (httpx.TransportError, ValueError):
            return False


@contextmanager
def a_gateway(folder: Path, **other: str) -> Iterator[Gateway]:
    if not (PYTHON.with_name("dask").exists() and SERVER.exists()):
        pytest.skip("Dask-Gateway is not installed; `make setup` does it")
    port = free_port()
    env = {
        **os.environ,
        "GATEWAY_FOLDER": str(folder),
        "GATEWAY_PORTS": f"{port} {port + 1}",
        "GATEWAY_PYTHON": str(PYTHON),
        "GATEWAY_MOST": str(MOST),
        **other,
    }
    found = Gateway(f"http://127.0.0.1:{port}/services/dask", folder / "log")
    with found.log.open("wb") as log:
        process = subprocess.Popen([SERVER, "-f", CONFIG], env=env, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until(found.listens, 60, "Dask-Gateway listens")
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with a_gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture
def asked(platform: Platform, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("SUBLET_DASK_URL", gateway.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # for downloads; the server's token is not for it
    says(platform, flavor("h100-1x"), flavor(NEVER))
    return platform


def error_of(told: Told) -> str:
    (error,) = told["errors"]
    return f"{error['ename']}: {error['evalue']}"


def test_from_start_to_end(asked: Platform, gateway: Gateway) -> None:
    _, begun, computed, refused, over, adapted, scaled, seen, closed, late = run(
        "import sublet",
        "cluster = sublet.cluster(gpus=2)",
        "with cluster.get_client() as client:\n"
        "    print(client.submit(sum, range(10)).result(), cluster.scheduler_address[:10])",
        "cluster.scale(9)",
        "cluster.adapt(minimum=9)",
        "cluster.adapt(minimum=1, maximum=3)\nrepr(cluster)",
        "cluster.scale(3)",
        "cluster",
        "cluster.close()\nrepr(cluster)",
        "cluster.scale(1)",
    )
    assert begun["status"] == "ok", begun
    texts = [each["text/plain"] for each in begun["shown"]]
    assert "0 of 2 ready, each a lease of h100-1x (surplus). The scheduler starts." in texts[0]
    assert "2 of 2 ready, each a lease of h100-1x (surplus). All came within" in texts[-1]
    for text in (texts[0], texts[-1]):
        assert "$1.60 per hour for 2 GPUs, simulated, while they run" in text
        assert "GPU time per week: 8.33 GPU-h, enough for 4 h 10 min of this cluster" in text
    assert "/services/dask/clusters/" in texts[-1]
    assert "2 of 2 ready" in Tags.of(begun["shown"][-1]["text/html"]).text
    assert computed["stdout"] == "45 gateway://\n", computed
    assert error_of(refused) == error_of(over) == f"Refused: {REFUSED}"
    said, state = (each["text/plain"] for each in adapted["shown"])
    assert said == "Dask workers: 1 to 3, as there is work: $2.40 per hour for 3 GPUs at most, simulated."
    assert " ready (1 to 3, as there is work), each a lease of h100-1x (surplus)" in state
    assert "3 Dask workers: $2.40 per hour for 3 GPUs" in shown(scaled, "text/plain")
    assert "of 3 ready" in Tags.of(shown(seen)).text
    assert "It is closed." in shown(closed, "text/plain")
    assert error_of(late) == "ValueError: This Dask cluster is closed. sublet.cluster(...) starts another."
    assert [each["stderr"] for each in (begun, computed, closed)] == [""] * 3
    wait_until(lambda: not gateway.clusters(), 60, "the cluster is gone")


def test_what_can_not_be_had_leaves_nothing_running(asked: Platform, gateway: Gateway) -> None:
    _, over, never, interrupted = run(
        "import sublet",
        "sublet.cluster(gpus=9)",  # the api promised more than the gateway then gives
        f"sublet.cluster(gpus=1, flavor={NEVER!r})",
        "import sublet.dask.leased as leased\n"
        "def interrupt(*_):\n"
        "    raise KeyboardInterrupt\n"
        "leased._wait = interrupt\n"
        "sublet.cluster(gpus=1)",
    )
    assert error_of(over) == f"Refused: {REFUSED}"
    assert error_of(never).startswith("Refused: You have 3 Dask clusters")
    assert [each["ename"] for each in interrupted["errors"]] == ["KeyboardInterrupt"]
    wait_until(lambda: not gateway.clusters(), 60, "the clusters are gone")
    says(asked, flavor("h100-1x", choices=[choice(fits=1, fits_problem=LIMIT_REACHED)]))
    log = gateway.log.stat().st_size
    _, told = run("import sublet", "sublet.cluster(gpus=2)")
    assert error_of(told).endswith("1 GPU would fit.")
    assert b"POST /api/v1/clusters/" not in gateway.log.read_bytes()[log:]


def test_workers_that_do_not_come(asked: Platform, gateway: Gateway) -> None:
    _, none = run("import sublet", "sublet.cluster(gpus=1, wait_seconds=0.001)")
    assert error_of(none).startswith("Unavailable: No worker came within")
    wait_until(lambda: not gateway.clusters(), 60, "the cluster is gone")


def test_a_cluster_ends_with_its_program(asked: Platform, gateway: Gateway) -> None:
    """One that waits for no worker and isn't closed. Of another, which was, nothing is heard any more."""
    program = (
        "import gc, sublet\n"
        "closed = sublet.cluster(gpus=1, wait_seconds=0)\n"
        "closed.close()\n"
        "del closed\n"
        "gc.collect()\n"
        "cluster = sublet.cluster(gpus=1, wait_seconds=0)\n"
        "print(cluster.name)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "extensions")}
    done = subprocess.run([PYTHON, "-c", program], env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 of 1 ready, each a lease of h100-1x (surplus). The others join as they come." in done.stderr
    assert "Traceback" not in done.stderr
    wait_until(lambda: done.stdout.strip() not in gateway.clusters(), 60, "the cluster is gone")


def test_workers_of_dask_cuda(asked: Platform, tmp_path: Path) -> None:
    """As the platform starts them on a slice of a GPU, though the GPU is a small NVML's."""
    nvml = compile_nvml(tmp_path).parent
    part = Part("f", "surplus", "group:lab", 1, 1, 2**30, 10 * 2**30, simulated=False)
    told = "(type(dask_worker.data).__name__, dask_worker.data.device_buffer.n / 2**30)"
    with a_gateway(
        tmp_path, GATEWAY_WORKER=" ".join(worker_arguments([], part)), CUDA_VISIBLE_DEVICES="MIG-100",
        LD_LIBRARY_PATH=str(nvml),
    ) as gateway:  # fmt: skip
        _, computed = run(
            "import sublet",
            "with sublet.cluster(gpus=1) as cluster, cluster.get_client() as client:\n"
            f"    print(client.submit(sum, range(10)).result(), *client.run(lambda dask_worker: {told}).values())",
            SUBLET_DASK_URL=gateway.url,
        )
    assert computed["stdout"] == "45 ('DeviceHostFile', 8.0)\n", computed


def test_who_is_not_let_in(asked: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    _, told = run("import sublet", "sublet.cluster(gpus=1)", JUPYTERHUB_API_TOKEN="another")
    assert error_of(told).startswith("Refused: The platform's Dask clusters are not open to this server (401")


def test_where_nobody_answers(asked: Platform) -> None:
    _, gone, none = run(
        "import sublet, os",
        "sublet.cluster(gpus=1)",
        "del os.environ['SUBLET_DASK_URL']\nsublet.cluster(gpus=1)",
        SUBLET_DASK_URL="http://127.0.0.1:9/services/dask",
    )
    assert error_of(gone).startswith("Unavailable: The platform's Dask clusters don't answer (")
    assert error_of(none).startswith("NotHere: This platform leases no workers for Dask.")
