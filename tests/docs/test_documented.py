"""All that people set, call, read or are told is documented, and nothing is that isn't there.

Each check is a function of a page's text, so that it can be tried on pages that lack a line.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
import pytest
from kubespawner import KubeSpawner
from prometheus_client.registry import CollectorRegistry

from sublet_hub.api.app import published_document
from sublet_hub.api.metrics import Metrics
from sublet_hub.cli import main
from sublet_hub.cli.main import COMMANDS
from sublet_hub.domain.errors import PublicError
from sublet_hub.gateway.app import create_app as _gateway_problems  # noqa: F401 - has its problems be known
from sublet_hub.gateway.metrics import REGISTRY as GATEWAY
from sublet_hub.hub.kube_spawner import LeaseKubeSpawner
from sublet_hub.hub.lease_mixin import LeaseMixin
from sublet_hub.hub.lease_pages import LeasePages
from sublet_hub.hub.local_spawner import LocalLeaseSpawner
from sublet_hub.hub.messages import Grant
from sublet_hub.hub.pod_fields import environment
from sublet_hub.hub.pod_spawner import PodSpawner
from sublet_hub.hub.supervised_spawner import SupervisedSpawner
from sublet_hub.meter.metrics import REGISTRY
from sublet_hub.settings import ENV_OF_OTHERS, Settings, env_name
from tests.docs.pages import PAGES, first_cells, page, section
from tests.hub.conftest import make_spawner
from tests.hub.pods import CPU

Check = Callable[[str], set[str]]
"""Takes a page's text and gives the names of what it doesn't document."""

JUPYTERHUB_PREFIXES = ("JUPYTERHUB_", "JPY_", "MEM_", "CPU_")
"""Of JupyterHub's own variables, which its documentation tells about."""


def settings(text: str) -> set[str]:
    stated = {name: section(text, f"## `{name}`") for name in Settings.model_fields}
    return {name for name, entry in stated.items() if f"`{env_name(name)}`" not in entry or len(entry) < 100}


def spawner_options(text: str) -> set[str]:
    ours = {
        name
        for cls in (LeasePages, LeaseMixin, SupervisedSpawner, LocalLeaseSpawner, PodSpawner, LeaseKubeSpawner)
        for name, trait in cls.class_own_traits(config=True).items()
        if trait.this_class is cls and name not in KubeSpawner.class_trait_names()
    }
    assert len(ours) > 10
    return ours - first_cells(section(text, "## The spawner's options"))


@functools.cache
def routes_of_api() -> frozenset[str]:
    document = published_document()
    return frozenset(f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods)


def documented_routes(text: str) -> set[str]:
    rows = {cell for cell in first_cells(section(text, "## Routes")) if " " in cell}
    return {
        re.sub(r" S(?=/)", " /services/sublet/api", re.sub(r" Q(?=/|$)", " /hub/api/quotas", row)) for row in rows
    }


def routes(text: str) -> set[str]:
    return set(routes_of_api() - documented_routes(text))


def exposed(registry: CollectorRegistry) -> set[str]:
    return {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}


def metrics(text: str) -> set[str]:
    api = exposed(Metrics(lambda: ()).registry) - first_cells(section(text, "## The api"))
    meter = exposed(REGISTRY) - first_cells(section(text, "## The meter"))
    gateway = exposed(GATEWAY) - first_cells(section(text, "## The gateway"))
    return api | meter | gateway


def problem_types() -> set[str]:
    def below(cls: type[PublicError]) -> Iterator[type[PublicError]]:
        for each in cls.__subclasses__():
            yield each
            yield from below(each)

    return {each.type_name for each in below(PublicError)}


def problems(text: str) -> set[str]:
    what_to_do = "## What to do"
    before, _, after = text.partition(what_to_do)
    return problem_types() - (first_cells(before) & first_cells(after))


def commands() -> Iterator[tuple[str, click.Command]]:
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())


def command_line(text: str) -> set[str]:
    missing = set()
    for name, command in commands():
        part = section(text, f"## `sublet {name}`")
        wanted = [max(each.opts, key=len) for each in command.params if isinstance(each, click.Option)]
        rows = {word for cell in first_cells(part) for word in cell.replace(",", " ").split()}
        missing |= {f"{name} {option}" for option in wanted if option not in rows}
        missing |= set() if part else {name}
    return missing


@functools.cache
def lease_environment() -> frozenset[str]:
    """What a server is started with, here or as a pod, of all that isn't JupyterHub's own."""
    now = datetime.now(UTC)
    grant = Grant(
        id="0" * 32, user="alice", account="user:alice", flavor="a", tier="guaranteed", state="granted",
        started_at=None, ended_at=None, deadline_at=now, end_reason=None, simulated=True, currency="USD",
        devices=("SIM-0",), held_seconds=600,
    )  # fmt: skip
    spawner: Any = make_spawner(
        LocalLeaseSpawner, "http://127.0.0.1:1", sublet_notebook_python="/opt/n/bin/python", sublet_models="/"
    )
    spawner.lease_id, spawner.lease_grant = grant.id, grant
    here = {*spawner.get_env(), *spawner.user_env({}), *spawner.env_keep, "HOME", "USER", "LOGNAME"}
    names = here | environment(grant, CPU).keys()
    return frozenset(name for name in names if not name.startswith(JUPYTERHUB_PREFIXES))


def environment_of_a_lease(text: str) -> set[str]:
    wanted = lease_environment()
    assert {
        "SUBLET_API_URL",
        "SUBLET_LEASE_ID",
        "SUBLET_SIMULATED",
        "SUBLET_MODELS_DIR",
        "CUDA_VISIBLE_DEVICES",
    } <= wanted
    return set(wanted) - first_cells(section(text, "## In your server's environment"))


def other_environment(text: str) -> set[str]:
    told = first_cells(section(text, "## Environment variables that are no settings"))
    return set(ENV_OF_OTHERS - lease_environment()) - told


CHECKS: dict[Check, str] = {
    settings: "settings.md",
    spawner_options: "operations.md",
    routes: "api.md",
    metrics: "metrics.md",
    problems: "problems.md",
    command_line: "cli.md",
    environment_of_a_lease: "researcher.md",
    other_environment: "operations.md",
}
"""Each check, and the page that it reads."""

NAMES = {check: check.__name__ for check in CHECKS}


@pytest.mark.parametrize("check", CHECKS, ids=NAMES.__getitem__)
def test_everything_is_documented(check: Check) -> None:
    assert check(page(CHECKS[check])) == set()


@pytest.mark.parametrize("check", CHECKS, ids=NAMES.__getitem__)
def test_each_check_can_fail(check: Check) -> None:
    """Whatever is documented, there is a line that is missed when it is taken out."""
    lines = page(CHECKS[check]).splitlines()
    missed = set()
    for number in range(len(lines)):
        missed |= check("\n".join(lines[:number] + lines[number + 1 :]))
    assert missed == check("")
    assert missed


def test_no_route_is_documented_that_there_is_not() -> None:
    assert documented_routes(page("api.md")) - routes_of_api() == set()


def test_no_metric_is_documented_that_there_is_not() -> None:
    named = {name for name in first_cells(page("metrics.md")) if name.startswith("sublet_")}
    assert named - exposed(Metrics(lambda: ()).registry) - exposed(REGISTRY) - exposed(GATEWAY) == set()


def test_no_problem_is_documented_that_there_is_not() -> None:
    assert first_cells(page("problems.md")) - problem_types() == set()


def test_no_setting_is_spoken_of_that_there_is_not() -> None:
    known = {env_name(name) for name in Settings.model_fields} | ENV_OF_OTHERS
    for path in PAGES:
        spoken_of = set(re.findall(r"\bSUBLET_[A-Z_]+\b", path.read_text(encoding="utf-8")))
        assert spoken_of - known == set(), path.name


def test_alerts_are_on_metrics_that_there_are() -> None:
    named = set(re.findall(r"\bsublet_[a-z_]+\b", section(page("operations.md"), "## Metrics and alerts")))
    assert named
    assert named - exposed(Metrics(lambda: ()).registry) - exposed(REGISTRY) - exposed(GATEWAY) == set()
