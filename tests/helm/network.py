"""What a set of NetworkPolicies allows: enough of Kubernetes' rules to answer "may A talk to B on this port?".

Rules: https://kubernetes.io/docs/concepts/services-networking/network-policies/. A pod that no policy selects for
a direction may do everything in it; one that some select may do what any of these allows. Both ends must allow.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Selector = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """One end of a connection inside the cluster."""

    labels: Mapping[str, str]
    namespace: str = "sublet"
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.244.0.1"


@dataclass(frozen=True)
class Outside:
    """One end that is no pod; policies know it by its address alone."""

    address: str


End = Pod | Outside


def allows(policies: list[dict[str, Any]], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection comes about."""
    return _may(policies, source, target, "Egress", port, protocol) and _may(
        policies, target, source, "Ingress", port, protocol
    )


def _may(policies: list[dict[str, Any]], pod: End, peer: End, direction: str, port: int, protocol: str) -> bool:
    if isinstance(pod, Outside):
        return True
    applying = [each["spec"] for each in policies if _applies(each, pod, direction)]
    rules = (rule for spec in applying for rule in spec.get(direction.lower()) or ())
    side = "to" if direction == "Egress" else "from"
    return not applying or any(_covers(rule, side, pod, peer, port, protocol) for rule in rules)


def _applies(policy: dict[str, Any], pod: Pod, direction: str) -> bool:
    spec = policy["spec"]
    implied = ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return (
        policy["metadata"].get("namespace", "sublet") == pod.namespace
        and direction in spec.get("policyTypes", implied)
        and selects(spec["podSelector"], pod.labels)
    )


def _covers(rule: dict[str, Any], side: str, pod: Pod, peer: End, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    if ports and not any(each["port"] == port and each.get("protocol", "TCP") == protocol for each in ports):
        return False
    peers = rule.get(side)
    return not peers or any(_is(given, pod, peer) for given in peers)


def _is(given: dict[str, Any], pod: Pod, peer: End) -> bool:
    if "ipBlock" in given:
        return _in_block(given["ipBlock"], peer.address)
    if isinstance(peer, Outside):
        return False
    if "namespaceSelector" in given:
        if not selects(given["namespaceSelector"], peer.namespace_labels):
            return False
    elif peer.namespace != pod.namespace:
        return False
    return selects(given.get("podSelector", {}), peer.labels)


def _in_block(block: dict[str, Any], address: str) -> bool:
    at = ipaddress.ip_address(address)

    def within(cidr: str) -> bool:
        network = ipaddress.ip_network(cidr)
        return at.version == network.version and at in network

    return within(block["cidr"]) and not any(within(each) for each in block.get("except", ()))


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects these labels; an empty one selects all."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(_expression(each, labels) for each in selector.get("matchExpressions", ()))


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", ())
    operators = {
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
    }
    return operators[expression["operator"]]
