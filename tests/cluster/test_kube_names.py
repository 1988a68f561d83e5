"""Label values: readable, allowed by Kubernetes, and never the same for two names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.cluster.kube.names import label_value, pod_name

ALLOWED = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")


@pytest.mark.parametrize(
    ("exact", "value"),
    [
        ("alice", "alice"),
        ("h100-1x", "h100-1x"),
        ("user:alice", "user.alice"),
        ("group:ml.team_2", "group.ml.team_2"),
        ("", ""),
        ("alice@example.org", "alice-example.org--7a64adf2"),
        ("-", "x--3973e022"),
    ],
)
def test_names_read_as_they_are_where_they_can(exact: str, value: str) -> None:
    assert label_value(exact) == value


@given(st.text(max_size=200))
def test_any_name_becomes_an_allowed_value(exact: str) -> None:
    value = label_value(exact)
    assert len(value) <= 63
    assert ALLOWED.fullmatch(value)


@given(st.text(max_size=80), st.text(max_size=80))
def test_different_users_never_share_a_value(one: str, other: str) -> None:
    assert (label_value(f"user:{one}") == label_value(f"user:{other}")) == (one == other)


@pytest.mark.parametrize(
    ("user", "server", "name"),
    [
        ("alice", "", "jupyter-alice-0123456789ab"),
        ("Alice@Example.org", "big one", "jupyter-alice-example-org-big-one-0123456789ab"),
        ("日本", "", "jupyter-x-0123456789ab"),
        ("a" * 200, "b", f"jupyter-{'a' * 40}-0123456789ab"),
    ],
)
def test_each_lease_has_a_pod_of_its_own_name(user: str, server: str, name: str) -> None:
    assert pod_name(user, server, "0123456789abcdef0123456789abcdef") == name
    assert len(name) <= 63
