"""The notes after an install: how to get in, and what is not for production yet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helm.rendering import CHART, EVERYTHING, helm

pytestmark = pytest.mark.helm

WARNINGS = (
    "signIn.provider:",
    "database.existingSecret:",
    "ingress, httpRoute:",
    "pools, flavors:",
    "settings.contact:",
    "networkPolicy.metricsFrom:",
    "image.digest, notebook.image.digest:",
)


def notes(*args: Any, values: dict[str, Any] | None = None) -> str:
    done = helm(
        "install",
        "gpus",
        CHART,
        "-n",
        "research",
        "--dry-run=client",
        *args,
        "-f",
        "-",
        stdin=json.dumps(values or {}),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_all_that_production_should_not_have_is_named() -> None:
    text = notes()
    assert [each for each in WARNINGS if f"- {each}" not in text] == []
    assert "get secret gpus-sublet-secrets" in text
    assert "port-forward service/gpus-sublet-proxy" in text
    assert "helm -n research test gpus" in text


def test_nothing_is_left_to_say_where_everything_is_set() -> None:
    # Helm 3 asks the cluster also here: for its version, and for kinds, of which not every cluster has HTTPRoute.
    text = notes("-f", EVERYTHING, values={"httpRoute": {"enabled": False}})
    assert [line for line in text.splitlines() if line.startswith("- ") and "Kubernetes here is" not in line] == []
    assert "https://gpus.example.org/" in text
    assert "password" not in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"networkPolicy": {"create": False}}, "networkPolicy.create:"),
        ({"signIn": {"provider": "github", "allow_all": True}}, "signIn.allow_all:"),
        ({"ingress": {"enabled": True, "hosts": ["a.example"]}}, "ingress.tls:"),
        ({"proxy": {"service": {"type": "LoadBalancer"}}}, "proxy.service.type is LoadBalancer"),
    ],
)
def test_what_is_turned_off_or_open_is_said(values: dict[str, Any], said: str) -> None:
    assert said not in notes()
    assert said in notes(values=values)
