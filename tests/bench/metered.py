"""A platform's meter alone, as a process on a real API server, with leases that fake pods run; and what it takes.

Books and folder are such as a platform has; the leases are in them as if they had been running for a minute, and
their posts are due one after another, as they are where users come one after another.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from sublet_hub import storage
from sublet_hub.credentials import ensure_secrets
from sublet_hub.domain import accounts
from sublet_hub.domain.amounts import PARTS_PER_GPU, GpuParts, Micros
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import Deadline, EndReason, Lease, LeaseState
from sublet_hub.settings import Settings, load_settings
from sublet_hub.storage.books import Books
from sublet_hub.storage.planning import replan
from sublet_hub.wiring import open_books, seed_default_quota
from tests.bench import fake_pods
from tests.fixtures.platform import ROOT, free_port, wait_until

SYNC_SECONDS = 300
BATCH = 500
FILLED_PER_SECOND = 500
CATALOG = """\
[[pools]]
name = "gpu"
gpu_model = "GPU"
capacity = 10000

[[flavors]]
name = "gpu-1x"
title = "1 x GPU"
pool = "gpu"
gpus = 1
cpus = 8
memory_gib = 64
prices = { guaranteed = 2400000 }
"""

Figures = dict[str, float]


@dataclass
class Metered:
    """A meter that runs."""

    process: psutil.Process
    port: int

    def figures(self) -> Figures:
        """What it took up to now, and what it did with it: its metrics, in all and by their labels."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False, timeout=60).text
        counted: Figures = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("sublet_meter_")
                for what in {name, ".".join([name, *sample.labels.values()])}:
                    counted[what] = counted.get(what, 0) + sample.value
        cpu = self.process.cpu_times()
        return counted | {"seconds": time.monotonic(), "cpu": cpu.user + cpu.system}

    def rss_mib(self) -> float:
        return float(self.process.memory_info().rss) / 2**20


def settings_of(folder: Path, namespace: str) -> tuple[Settings, dict[str, str]]:
    """Settings of a platform in that folder and namespace, and the environment that says so. What isn't named is as
    it is in production."""
    port = free_port()
    said = {
        "SUBLET_DATA": str(folder),
        "SUBLET_CLUSTER": "kubernetes",
        "SUBLET_PORT": str(port),
        "SUBLET_KUBE_NAMESPACE": namespace,
        "SUBLET_KUBE_RELEASE": namespace,
        "SUBLET_DEFAULT_GPU_SECONDS_PER_WEEK": str(10**9),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUBLET_")} | said
    return load_settings(environment), environment


@contextmanager
def running(folder: Path, namespace: str, lease_ids: Sequence[str], started_at_ms: int) -> Iterator[Metered]:
    """The meter of a new platform whose leases those are, once it has seen all of them run."""
    settings, environment = settings_of(folder, namespace)
    (folder / "sublet.toml").write_text(CATALOG, encoding="utf-8")
    ensure_secrets(folder)
    storage.migrate(settings.database_url)
    with open_books(settings) as books:
        seed_default_quota(books, settings)
        _fill(books, lease_ids, started_at_ms)
    command = [sys.executable, "-m", "sublet_hub.cli", "meter"]
    with (folder / "meter.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        meter = Metered(psutil.Process(process.pid), settings.meter_port)

        def sees_all() -> bool:
            assert process.poll() is None, (folder / "meter.log").read_text()
            try:
                seen = meter.figures()
            except httpx.TransportError:
                return False
            return seen.get("rounds_total.done", 0) >= 2 and seen["leases.active"] == len(lease_ids)

        wait_until(sees_all, SYNC_SECONDS, "the meter sees all leases")
        yield meter
    finally:
        process.terminate()
        process.wait(SYNC_SECONDS)


def deadline_ms(settings: Settings, started_at_ms: int) -> int:
    """When those leases must end: the default quota says how long one may last."""
    assert settings.default_lease_seconds is not None
    return started_at_ms + settings.default_lease_seconds * 1000


def _fill(books: Books, lease_ids: Sequence[str], started_at_ms: int) -> None:
    """Write the leases down as they are while they run, their next posts spread evenly over an interval."""
    first_ms = books.clock.now_ms() + len(lease_ids) * 1000 // FILLED_PER_SECOND
    for begin in range(0, len(lease_ids), BATCH):
        with books.store.transaction(write=True) as tx:
            for number in range(begin, min(begin + BATCH, len(lease_ids))):
                posted_ms = first_ms - number * books.policy.post_interval_ms // len(lease_ids)
                made = _lease(number, lease_ids[number], started_at_ms)
                held_ms = posted_ms + books.policy.slice_ms
                tx.add_lease(replace(made, posted_until_ms=posted_ms, held_until_ms=held_ms))
                replan(tx, books, [made.account], books.clock.now_ms())


def _lease(number: int, lease_id: str, started_at_ms: int) -> Lease:
    user = fake_pods.user_name(number)
    return Lease(
        id=lease_id,
        user=user,
        account=accounts.user(user),
        flavor="gpu-1x",
        pool="gpu",
        tier=Tier.GUARANTEED,
        kind="notebook",
        server_name="",
        state=LeaseState.ACTIVE,
        parts=GpuParts(PARTS_PER_GPU),
        price_micros_per_gpu_hour=Micros(2_400_000),
        currency="USD",
        simulated=False,
        devices=(),
        requested_at_ms=started_at_ms,
        posted_until_ms=started_at_ms,
        held_until_ms=started_at_ms,
        deadline=Deadline(started_at_ms, EndReason.LIMIT),
        started_at_ms=started_at_ms,
    )
