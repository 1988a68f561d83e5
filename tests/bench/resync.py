"""What it takes to learn of all lease pods anew: our reflector against KubeSpawner's own, on the same objects.

The API server is real, and so are the objects; nobody runs the pods. Each sample is a new process, of one side and
the other in turns. KubeSpawner's is measured by the list that it makes at its start and after every error (in the hub
it also makes one whenever a watch ends, every ten seconds).

    python -m tests.bench.resync 1000      with so many pods
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence

from sublet_hub.cluster.kube.connection import connect
from tests.bench import fake_pods
from tests.bench.figures import Limit, Result, median, percentile
from tests.fixtures.platform import ROOT

PODS, QUICK_PODS = 10_000, 1_000
SAMPLES, QUICK_SAMPLES = 7, 2
PATIENCE_SECONDS = 900
NO_SLOWER = 1.0
HALF_THE_MEMORY = 0.5

Said = Mapping[str, float]


def run(*, quick: bool, pods: int | None = None) -> Result:
    count = pods or (QUICK_PODS if quick else PODS)
    connection = connect()
    name = f"sublet-bench-{secrets.token_hex(4)}"
    with fake_pods.namespace(connection, name), fake_pods.fake_node(connection, name):
        fake_pods.make(connection, name, fake_pods.lease_ids(count), node=name)
        samples: dict[str, list[Said]] = {"ours": [], "theirs": []}
        for _ in range(QUICK_SAMPLES if quick else SAMPLES):
            for side, said in samples.items():
                said.append(_measured(side, name))
                assert said[-1]["pods"] == count, f"{side} saw {said[-1]['pods']} of {count} pods"
    return _result(count, samples["ours"], samples["theirs"])


def _measured(side: str, namespace: str) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.resync_side", side, namespace],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    said: Said = json.loads(done.stdout)
    return said


def _result(count: int, ours: Sequence[Said], theirs: Sequence[Said]) -> Result:
    rows = [
        (
            title,
            f"{_of(said, 'seconds'):.2f}",
            f"{percentile([each['seconds'] for each in said], 90):.2f}",
            f"{_of(said, 'cpu_seconds'):.2f}",
            f"{_of(said, 'steady_mib'):.0f}",
            f"{_of(said, 'peak_mib'):.0f}",
        )
        for title, said in (("Sublet's", ours), ("KubeSpawner's", theirs))
    ]
    return Result(
        title="A resync of lease pods",
        limits=(
            _limit("time", "seconds", ours, theirs, NO_SLOWER),
            _limit("memory held", "steady_mib", ours, theirs, HALF_THE_MEMORY),
            _limit("memory at the most", "peak_mib", ours, theirs, HALF_THE_MEMORY),
        ),
        columns=("reflector", "median s", "90% s", "processor s", "memory held MiB", "at the most MiB"),
        rows=tuple(rows),
        samples=f"{count:,} pods of 11 KB as the API server writes them; {len(ours)} processes each, in turns",
    )


def _of(said: Sequence[Said], what: str) -> float:
    return median([each[what] for each in said])


def _limit(name: str, what: str, ours: Sequence[Said], theirs: Sequence[Said], bound: float) -> Limit:
    return Limit(f"ratio of {name} to KubeSpawner's", _of(ours, what) / _of(theirs, what), bound)


if __name__ == "__main__":
    sys.stdout.write(run(quick=True, pods=int(sys.argv[1])).line + "\n")
