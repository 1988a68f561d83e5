"""Run benches, print a line for each, and keep their figures: `make bench`, or

    python -m tests.bench                    all of them; docs/performance.md is written anew
    python -m tests.bench spawn quota-api    some of them
    python -m tests.bench --quick            all, with few samples: to see that they work. Nothing is kept

Exits with 1 if a limit does not hold or a bench fails; the others are run nevertheless.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from tests.bench import (
    admission,
    end_of_lease,
    gateway,
    kube_meter,
    kube_spawn,
    lab_ready,
    meter_round,
    model_loading,
    notice_streams,
    page,
    quota_api,
    resync,
    server_memory,
    spawn,
)
from tests.bench.figures import Record, Result, load, machine, now
from tests.fixtures.kube import why_missing

BENCHES: Mapping[str, Callable[..., Result]] = {
    "spawn": spawn.run,
    "admission-sqlite": admission.run_sqlite,
    "admission-postgresql": admission.run_postgresql,
    "quota-api": quota_api.run,
    "end-of-lease": end_of_lease.run,
    "meter-round": meter_round.run,
    "notice-streams": notice_streams.run,
    "lab-ready": lab_ready.run,
    "server-memory": server_memory.run,
    "gateway": gateway.run,
    "model-loading": model_loading.run,
    "kube-spawn": kube_spawn.run,
    "kube-meter": kube_meter.run,
    "resync": resync.run,
}
ON_A_CLUSTER = frozenset({"kube-spawn", "kube-meter", "resync"})
"""Those on the Kubernetes cluster that KUBECONFIG names. Where there is none, their last figures stay."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="bench", help=f"of {', '.join(BENCHES)}; all of them if none")
    parser.add_argument("--quick", action="store_true", help="few samples, to see that it works; nothing is kept")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHES]
    if unknown:
        parser.error(f"there is no bench {unknown[0]!r}")
    held = [_run(name, quick=asked.quick) for name in asked.names or BENCHES]
    if not asked.quick:
        page.write()
        sys.stdout.write(f"wrote {page.PAGE}\n")
    return 0 if all(held) else 1


def _run(name: str, *, quick: bool) -> bool:
    """Run one bench; False where it fails or a limit of it does not hold."""
    missing = why_missing() if name in ON_A_CLUSTER else None
    if missing is not None:
        sys.stdout.write(f"{name}: skipped, {missing}\n")
        return True
    load_before, begun, at = load(), time.monotonic(), now()
    try:
        result = BENCHES[name](quick=quick)
    except Exception:  # noqa: BLE001 - the other benches are worth running all the same
        sys.stdout.write(f"{name}: FAILED\n{traceback.format_exc()}\n")
        return False
    took = round(time.monotonic() - begun)
    sys.stdout.write(f"{name}: {result.line} | {took} s, load before {load_before}\n")
    sys.stdout.flush()
    if not quick:
        page.keep(name, Record(result, machine(), at, load_before, took))
    return result.holds


if __name__ == "__main__":
    sys.exit(main())
