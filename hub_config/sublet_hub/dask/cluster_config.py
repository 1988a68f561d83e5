"""What Dask-Gateway keeps of a cluster beside its own: what each of its workers is a lease of."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from dask_gateway_server.backends.base import ClusterConfig
from traitlets import Bool, Integer, Unicode

from sublet_hub.dask.wishes import Part


class LeasedClusterConfig(ClusterConfig):
    """Dask-Gateway's configuration of one cluster, with the names of `Part`. Made by us, never by a user."""

    flavor = Unicode(help="Each worker is one lease of this flavor.")
    tier = Unicode(help="The tier of these leases.")
    account = Unicode(help="Who pays.")
    gpus = Integer(help="GPUs of one worker: 0 or 1.")
    cpus = Integer(help="Processors of one worker.")
    memory_bytes = Integer(help="Main memory of one worker.")
    gpu_memory_bytes = Integer(help="Memory of its GPU or slice of one; 0 where there is none or it is not known.")
    simulated = Bool(help="Whether its GPUs are simulated.")


def part_in(config: Any) -> Part:
    """The part that was kept with a cluster, perhaps by a version that kept less."""
    traits = LeasedClusterConfig.class_traits()
    return Part(**{each.name: config.get(each.name, traits[each.name].default_value) for each in fields(Part)})
