"""Who reaches whom, by the network policies of the chart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.network import End, Outside, Pod, allows, selects
from tests.helm.rendering import EVERYTHING, NAMESPACE, RELEASE, of_kind, render

pytestmark = pytest.mark.helm


def ours(component: str) -> Pod:
    labels = {"name": "sublet", "instance": RELEASE, "component": component}
    return Pod({f"app.kubernetes.io/{key}": value for key, value in labels.items()}, NAMESPACE)


def user(name: str) -> Pod:
    return Pod({"sublet.dev/lease": name, "component": "singleuser-server"}, NAMESPACE, address="10.244.3.3")


HUB, PROXY, API, METER, CHECK = map(ours, ("hub", "proxy", "api", "meter", "check"))
GATEWAY, MODELS, SERVER = map(ours, ("gateway", "models", "model-server"))
UPSTREAM = Pod({"app": "vllm"}, "models", {"kubernetes.io/metadata.name": "models"}, "10.244.7.7")
ANNA, BERND = user("a"), user("b")
DNS = Pod({"k8s-app": "kube-dns"}, "kube-system", {"kubernetes.io/metadata.name": "kube-system"})
NODE_DNS = Outside("169.254.20.10")
STRANGER = Pod({"app": "something"}, "default", {"kubernetes.io/metadata.name": "default"}, "10.244.9.9")
NEIGHBOUR = Pod({"app": "something"}, NAMESPACE, address="10.244.9.8")
PROMETHEUS = Pod({"app": "prometheus"}, "monitoring", {"kubernetes.io/metadata.name": "monitoring"})
POSTGRES = Pod({"app": "postgresql"}, NAMESPACE)
API_SERVER, API_SERVER_NAMED = Outside("10.0.0.1"), Outside("192.0.2.10")
BROWSER = Outside("203.0.114.5")
INTERNET, INTERNET_6 = Outside("151.101.1.69"), Outside("2606:4700::1111")
METADATA, METADATA_6 = Outside("169.254.169.254"), Outside("fd00:ec2::254")


def policies(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    return of_kind(render(*args, **kwargs), "NetworkPolicy")


BY_DEFAULT: list[tuple[End, End, int, bool]] = [
    # what must work
    (BROWSER, PROXY, 8000, True),
    (STRANGER, PROXY, 8000, True),
    (CHECK, PROXY, 8000, True),
    (PROXY, HUB, 8081, True),
    (PROXY, API, 8082, True),
    (PROXY, ANNA, 8888, True),
    (HUB, PROXY, 8001, True),
    (HUB, API, 8082, True),
    (HUB, ANNA, 8888, True),
    (HUB, API_SERVER, 443, True),
    (HUB, API_SERVER, 6443, True),
    (API, HUB, 8081, True),
    (METER, API_SERVER, 443, True),
    (ANNA, HUB, 8081, True),
    (ANNA, PROXY, 8000, True),
    (ANNA, API, 8082, True),
    (ANNA, INTERNET, 443, True),
    (ANNA, INTERNET, 22, True),
    (ANNA, INTERNET_6, 443, True),
    # what must not
    (ANNA, BERND, 8888, False),
    (ANNA, BERND, 22, False),
    (BERND, ANNA, 8888, False),
    (ANNA, API_SERVER, 443, False),
    (ANNA, API_SERVER, 6443, False),
    (ANNA, METADATA, 80, False),
    (ANNA, METADATA_6, 80, False),
    (ANNA, Outside("10.1.2.3"), 5432, False),
    (ANNA, Outside("172.31.0.1"), 80, False),
    (ANNA, Outside("192.168.1.1"), 80, False),
    (ANNA, Outside("100.64.0.1"), 10250, False),
    (ANNA, Outside("127.0.0.1"), 80, False),
    (ANNA, Outside("fe80::1"), 80, False),
    (ANNA, Outside("64:ff9b::a9fe:a9fe"), 80, False),
    (ANNA, STRANGER, 80, False),
    (ANNA, NEIGHBOUR, 80, False),
    (ANNA, PROXY, 8001, False),
    (ANNA, METER, 8083, False),
    (STRANGER, ANNA, 8888, False),
    (NEIGHBOUR, ANNA, 8888, False),
    (API, ANNA, 8888, False),
    (METER, ANNA, 8888, False),
    (STRANGER, HUB, 8081, False),
    (STRANGER, API, 8082, False),
    (NEIGHBOUR, API, 8082, False),
    (STRANGER, METER, 8083, False),
    (PROMETHEUS, API, 8082, False),
    (STRANGER, PROXY, 8001, False),
    (API, PROXY, 8001, False),
    (METER, HUB, 8081, False),
    (METER, API, 8082, False),
    (API, API_SERVER, 443, False),
    (PROXY, API_SERVER, 443, False),
    (API, INTERNET, 443, False),
    (PROXY, INTERNET, 443, False),
    (API, METADATA, 80, False),
    (HUB, METADATA, 80, False),
    (METER, METADATA, 80, False),
    (PROXY, METADATA, 80, False),
    (API, POSTGRES, 5432, False),
    (CHECK, API, 8082, False),
]


@pytest.mark.parametrize(("source", "target", "port", "expected"), BY_DEFAULT)
def test_who_reaches_whom_by_default(source: End, target: End, port: int, *, expected: bool) -> None:
    assert allows(policies(), source, target, port) is expected


@pytest.mark.parametrize("source", [HUB, PROXY, API, METER, CHECK, ANNA])
@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_everybody_can_look_up_names(source: Pod, protocol: str) -> None:
    assert allows(policies(), source, DNS, 53, protocol)
    assert allows(policies(), source, NODE_DNS, 53, protocol)
    assert not allows(policies(), source, STRANGER, 53, protocol)
    old = Pod(DNS.labels, "kube-system", {})  # before 1.21 namespaces carry no name
    assert allows(policies(version="1.20.0"), source, old, 53, protocol)


LEASED = Pod({"sublet.dev/lease": "c", "sublet.dev/serves": "tiny"}, NAMESPACE, address="10.244.3.4")

WITH_EVERYTHING: list[tuple[End, End, int, bool]] = [
    (ANNA, Outside("10.20.1.1"), 2049, True),
    (ANNA, Outside("10.21.1.1"), 2049, False),
    (ANNA, Outside("203.0.113.7"), 443, False),
    (ANNA, Outside("2001:db8::1"), 443, False),
    (ANNA, API_SERVER_NAMED, 6443, False),
    (ANNA, PROXY, 8000, True),
    (CHECK, PROXY, 8000, True),
    (HUB, API_SERVER_NAMED, 6443, True),
    (METER, API_SERVER_NAMED, 6443, True),
    (METER, API_SERVER, 6443, False),
    (HUB, INTERNET, 8443, True),
    (HUB, INTERNET, 443, False),
    (HUB, INTERNET, 636, True),
    (HUB, POSTGRES, 6432, True),
    (API, POSTGRES, 5432, True),
    (METER, POSTGRES, 5432, True),
    (API, STRANGER, 5432, False),
    (PROXY, POSTGRES, 5432, False),
    (ANNA, POSTGRES, 5432, False),
    (PROMETHEUS, API, 8082, True),
    (PROMETHEUS, METER, 8083, True),
    (STRANGER, METER, 8083, False),
    (ANNA, GATEWAY, 8084, True),
    (PROXY, GATEWAY, 8084, True),
    (PROMETHEUS, GATEWAY, 8084, True),
    (STRANGER, GATEWAY, 8084, False),
    (GATEWAY, API, 8082, True),
    (GATEWAY, HUB, 8081, False),
    (GATEWAY, UPSTREAM, 8000, True),
    (GATEWAY, UPSTREAM, 22, False),
    (GATEWAY, INTERNET, 443, False),
    (GATEWAY, ANNA, 8888, False),
    (ANNA, UPSTREAM, 8000, False),
    (MODELS, INTERNET, 443, True),
    (GATEWAY, SERVER, 8000, True),
    (GATEWAY, SERVER, 22, False),
    (ANNA, SERVER, 8000, False),
    (HUB, SERVER, 8000, False),
    (PROXY, SERVER, 8000, False),
    (API, SERVER, 8000, False),
    (PROMETHEUS, SERVER, 8000, False),
    (STRANGER, SERVER, 8000, False),
    (SERVER, INTERNET, 443, False),
    (SERVER, METADATA, 80, False),
    (SERVER, API_SERVER_NAMED, 6443, False),
    (SERVER, DNS, 53, False),
    (SERVER, GATEWAY, 8084, False),
    (SERVER, ANNA, 8888, False),
    (ANNA, MODELS, 8888, False),
    (GATEWAY, API_SERVER_NAMED, 6443, True),
    (GATEWAY, API_SERVER, 6443, False),
    (GATEWAY, LEASED, 8000, True),
    (ANNA, LEASED, 8000, False),
    (PROMETHEUS, LEASED, 8000, False),
    (LEASED, Outside("10.20.1.1"), 2049, False),
    (LEASED, INTERNET, 443, False),
    (BROWSER, PROXY, 8000, False),
    (Pod({}, "ingress", {"kubernetes.io/metadata.name": "ingress"}), PROXY, 8000, True),
]


@pytest.mark.parametrize(("source", "target", "port", "expected"), WITH_EVERYTHING)
def test_who_reaches_whom_with_everything_set(source: End, target: End, port: int, *, expected: bool) -> None:
    assert allows(policies(EVERYTHING), source, target, port) is expected


WITH_LEASED_MODELS: list[tuple[End, End, int, bool]] = [
    (GATEWAY, LEASED, 8000, True),
    (GATEWAY, LEASED, 22, False),
    (GATEWAY, LEASED, 19191, False),
    (GATEWAY, API_SERVER, 6443, True),
    (GATEWAY, API, 8082, True),
    (GATEWAY, ANNA, 8888, False),
    (GATEWAY, INTERNET, 80, False),
    (ANNA, LEASED, 8000, False),
    (PROXY, LEASED, 8000, False),
    (PROXY, LEASED, 8888, False),
    (HUB, LEASED, 8888, False),
    (API, LEASED, 8000, False),
    (STRANGER, LEASED, 8000, False),
    (LEASED, DNS, 53, False),
    (LEASED, INTERNET, 443, False),
    (LEASED, METADATA, 80, False),
    (LEASED, HUB, 8081, False),
    (LEASED, API, 8082, False),
    (LEASED, GATEWAY, 8084, False),
    (LEASED, PROXY, 8000, False),
    (LEASED, ANNA, 8888, False),
    (LEASED, API_SERVER, 6443, False),
    (ANNA, GATEWAY, 8084, True),
    (ANNA, INTERNET, 443, True),
]


@pytest.mark.parametrize(("source", "target", "port", "expected"), WITH_LEASED_MODELS)
def test_who_reaches_a_models_server_that_is_a_lease(source: End, target: End, port: int, *, expected: bool) -> None:
    values = {"settings": {"model_account": "user:admin"}, "models": {"catalogue": "# none yet"}}
    assert allows(policies(values=values), source, target, port) is expected


def test_without_leases_the_gateway_does_not_reach_the_api_server() -> None:
    assert not allows(policies(values={"models": {"catalogue": "# none yet"}}), GATEWAY, API_SERVER, 6443)


def test_the_internet_can_be_closed() -> None:
    closed = policies(values={"networkPolicy": {"internet": False}})
    assert not allows(closed, ANNA, INTERNET, 443)
    assert allows(closed, ANNA, HUB, 8081)


def test_a_component_without_a_policy_of_its_own_reaches_nobody() -> None:
    newcomer = ours("newcomer")
    assert not allows(policies(), newcomer, INTERNET, 443)
    assert not allows(policies(), STRANGER, newcomer, 80)


def test_every_exception_lies_within_its_block() -> None:
    """The API server refuses a policy where one doesn't."""
    import ipaddress

    blocks = [
        peer["ipBlock"]
        for policy in policies(EVERYTHING)
        for rule in policy["spec"].get("egress", ())
        for peer in rule.get("to", ())
        if "except" in peer.get("ipBlock", {})
    ]
    assert len(blocks) == 2
    for block in blocks:
        whole = ipaddress.ip_network(block["cidr"])
        assert all(ipaddress.ip_network(each).version == whole.version for each in block["except"])


def test_the_reading_of_selectors() -> None:
    assert selects({}, {})
    assert selects({"matchLabels": {"a": "b"}}, {"a": "b", "c": "d"})
    assert not selects({"matchLabels": {"a": "b"}}, {"a": "c"})
    assert not selects({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"b": ""})
    assert selects({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x"]}]}, {"a": "x"})
    assert selects({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, {"a": "y"})
    assert selects({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {})
    with pytest.raises(KeyError):
        selects({"matchExpressions": [{"key": "a", "operator": "Gt"}]}, {})
