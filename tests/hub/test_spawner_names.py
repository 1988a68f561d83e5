"""Spawners are built on classes of thousands of lines, whose attributes are read far away: what we name like one of
theirs replaces it. A method `_failed` once had JupyterHub take every spawner for one whose last start had failed."""

from __future__ import annotations

import inspect

import pytest

from sublet_hub.hub.kube_spawner import LeaseKubeSpawner
from sublet_hub.hub.local_spawner import LocalLeaseSpawner

MEANT = {
    # JupyterHub's own, to be written by who makes a spawner.
    *("start", "stop", "poll", "progress", "get_env", "get_state", "load_state", "clear_state", "get_url"),
    *("load_user_options", "user_env", "_signal"),
    # KubeSpawner's, each with its reason beside it.
    *("_start", "_start_watching_pods", "_start_watching_events", "_make_create_pod_request"),
    *("_get_pod_port", "_get_pod_url", "is_pod_running"),
}
TRAITS = {"_all_trait_default_generators", "_descriptors", "_instance_inits", "_static_immutable_initial_values"}
TRAITS |= {"_trait_default_generators", "_traits"}


@pytest.mark.parametrize("spawner", [LeaseKubeSpawner, LocalLeaseSpawner])
def test_no_name_of_ours_replaces_another_by_chance(spawner: type) -> None:
    bases = inspect.getmro(spawner)
    ours = [each for each in bases if each.__module__.startswith("sublet_hub.")]
    theirs = {name for each in bases if each not in ours for name in vars(each)}
    taken = {name for each in ours for name in vars(each) if not name.startswith("__")} & theirs
    assert taken - MEANT - TRAITS == set()
