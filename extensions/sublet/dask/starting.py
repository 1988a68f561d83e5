"""`sublet.cluster`: a Dask cluster, on what this server holds or on leases of its own."""

from __future__ import annotations

import importlib
from typing import Any

from sublet.dask.orders import Wish
from sublet.dask.own import module, own_cluster

WAIT_SECONDS = 300.0


def cluster(
    gpus: float | None = None,
    *,
    workers: int | None = None,
    flavor: str | None = None,
    tier: str | None = None,
    account: str | None = None,
    wait_seconds: float = WAIT_SECONDS,
    **settings: Any,
) -> Any:
    """A Dask cluster. Close it with `close()`, or use it in a `with` block.

    Without arguments it runs on what this server holds and costs nothing more: `dask_cuda.LocalCUDACluster`, a worker
    on each GPU, or without a GPU `distributed.LocalCluster`. `settings` go to that class and before what is set here,
    such as `n_workers=2`.

    With `gpus` (or `workers`, for flavors without a GPU) so many leases are taken for it, each a worker: they cost
    what a server of that flavor costs, count on the same quotas and get the same notices. `flavor`, `tier` and
    `account` are those of this server's own lease where nothing else is said. The result is a
    `dask_gateway.GatewayCluster`: `scale(n)`, `adapt(minimum, maximum)`, `get_client()`. It is waited for the workers
    for `wait_seconds`; what comes later joins.

    Raises Refused where a quota or the pool has no room, with the limit and with how many GPUs would fit;
    NotInALease, Unavailable; NotHere where Dask or the platform's Dask clusters aren't there; ValueError where the
    arguments don't fit together.
    """
    wish = Wish(gpus, workers, flavor, tier, account)
    if wish == Wish():
        return own_cluster(settings)
    if gpus is not None and workers is not None:
        raise ValueError("Say how many gpus or how many workers, not both.")
    if settings:
        raise ValueError(f"Leased workers have no setting {', '.join(sorted(settings))}: their flavor says it all.")
    module("dask_gateway")
    leased = importlib.import_module("sublet.dask.leased")
    return leased.lease_cluster(wish, wait_seconds)
