"""Dask clusters: on what a server holds already, or on more GPUs that are leased for it.

import sublet
cluster = sublet.cluster()
client = cluster.get_client()
"""

from sublet.dask.starting import cluster

__all__ = ["cluster"]
