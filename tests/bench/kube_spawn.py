"""Seconds from the request for a server to its first answer, on Kubernetes: Sublet against KubeSpawner alone.

Both hubs run in the cluster that KUBECONFIG names, each in a namespace of its own, out of one image; both start the
same notebook image with the same resources, user and home. Starts take turns, and are timed as in `spawn`, through
the forwarded port of each hub's proxy. The homes are made in the warm-up.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

from tests.bench import stock_kube_hub
from tests.bench.figures import Limit, Result, median
from tests.bench.spawn import COLUMNS, in_turns, rows_of
from tests.fixtures.site import Site
from tests.kube.installed import installed
from tests.kube.kubectl import Cluster, new_namespace

AT_MOST = 1.05
ROUNDS, QUICK_ROUNDS = 8, 3
WARM_UP, QUICK_WARM_UP = 2, 1
USER = "alice"


def run(*, quick: bool) -> Result:
    rounds, warm_up = (QUICK_ROUNDS, QUICK_WARM_UP) if quick else (ROUNDS, WARM_UP)
    with ExitStack() as stack:
        spaces = [stack.enter_context(new_namespace(Cluster(), "sublet-bench")) for _ in range(2)]
        try:
            ours = stack.enter_context(installed(spaces[0]))
            stock = stack.enter_context(stock_kube_hub.running(spaces[1]))
            return _measure(ours, stock, rounds, warm_up)
        except Exception:
            for space in spaces:
                sys.stderr.write(space.describe())
            raise


def _measure(ours: Site, stock: Site, rounds: int, warm_up: int) -> Result:
    at_ours, at_stock = ours.sign_in(USER), stock.sign_in(USER)
    seconds = in_turns(
        {
            "Sublet": (at_ours, {"flavor": "one"}),
            "KubeSpawner alone": (at_stock, {}),
            "KubeSpawner alone, told to look every 50 ms": (at_stock, {"eager": "yes"}),
            "the same, with Sublet's warden in its pod": (at_stock, {"eager": "yes", "guarded": "yes"}),
        },
        rounds,
        warm_up,
    )
    sublet, alone, eager, guarded = map(median, seconds.values())
    parts = (
        f"{guarded - eager:+.2f} s for the container that holds the deadline, {sublet - guarded:+.2f} s for all else"
    )
    return Result(
        title="From the request for a server to JupyterLab, on Kubernetes",
        limits=(Limit("ratio of medians", sublet / alone, AT_MOST),),
        columns=COLUMNS,
        rows=rows_of(seconds),
        samples=f"{rounds} starts each, in turns",
        notes=(f"Against a hub that looks as often, the ratio is {sublet / eager:.2f}: {parts}.",),
    )
