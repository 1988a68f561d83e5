"""The way to the API server: few verbs, typed answers, a limit to everything.

Addresses, certificates and tokens (renewed by the kubelet, read again when refused) are lightkube's part.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, TypeVar

import httpx2 as httpx
import msgspec
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError

from sublet_hub.cluster.kube import objects
from sublet_hub.cluster.kube.errors import Ask, KubeError, Resource
from sublet_hub.cluster.kube.exchange import Exchange, OnRequest, Patience
from sublet_hub.cluster.kube.objects import ObjectT, Page, VersionInfo
from sublet_hub.cluster.kube.watching import Watch

PAGE_ITEMS = 500
"""Objects per page of a list: some 3 MB of pods."""

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that is no more is noticed, also on a watch on which nothing happens; at no request."""

BREAK_SECONDS = 5 + 3 * 3 + 1.0
"""How long that takes, at the most."""

_PATCH_TYPES = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}

T = TypeVar("T")


def connect(on_request: OnRequest | None = None, patience: Patience | None = None) -> Connection:
    """Connect with the pod's service account, or where there is none, with what KUBECONFIG names."""
    try:
        config = KubeConfig.from_env().get()
    except (ConfigError, KeyError, OSError, msgspec.MsgspecError) as error:
        raise KubeError(f"no way to a Kubernetes API server is configured: {error}") from error
    assert config is not None  # without a default, it raises instead
    if config.user is None:
        raise KubeError(f"the context {config.context_name} of the Kubernetes configuration names no user")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs every request
    trust = client_adapter.verify_cluster(config.cluster, config.user, config.abs_file, trust_env=False)
    client = httpx.Client(
        base_url=config.cluster.server,
        auth=client_adapter.user_auth(config.user),
        transport=httpx.HTTPTransport(verify=trust, trust_env=False, socket_options=_KEEPALIVE),
        trust_env=False,
        # Within a cluster the network is quicker than compressing and decompressing.
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "sublet"},
    )
    return Connection(Exchange(client, on_request, patience or Patience()), config.namespace)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return objects.decoder(kind)


class Connection:
    """A connection to the API server; safe to share between threads. Every method may raise a `KubeError`."""

    def __init__(self, exchange: Exchange, namespace: str) -> None:
        self.namespace = namespace
        """Our own; what is meant where none is named."""
        self._exchange = exchange

    def with_patience(self, patience: Patience) -> Connection:
        """The same connection for somebody with other needs."""
        return Connection(self._exchange.with_patience(patience), self.namespace)

    def close(self) -> None:
        """Close it, for all who share it."""
        self._exchange.close()

    def get(self, resource: Resource, name: str, kind: type[T], *, namespace: str = "") -> T:
        """Read one object."""
        ask = Ask("get", resource, namespace or self.namespace, name)
        return _decoded(ask, self._exchange.send(ask, "GET"), kind)

    def pages(
        self, resource: Resource, kind: type[ObjectT], *, namespace: str = "", labels: str = ""
    ) -> Iterator[Page[ObjectT]]:
        """List objects, page by page, all as of one version of the whole (that of the first page), which is the
        newest at the moment of asking; with a selector of labels, those that it selects. Raises `Gone` if that takes
        longer than the server remembers it.
        """
        ask = Ask("list", resource, namespace or self.namespace)
        query = {"limit": str(PAGE_ITEMS), **({"labelSelector": labels} if labels else {})}
        while True:
            page = _decoded(ask, self._exchange.send(ask, "GET", query=query), Page[kind])  # type: ignore[valid-type]
            yield page
            if not page.metadata.continue_:
                return
            query["continue"] = page.metadata.continue_

    def watch(
        self, resource: Resource, resource_version: str, *, namespace: str = "", seconds: int, silence_seconds: float
    ) -> Watch:
        """Hear of changes from a version on, for so long; enter the result to begin. Raises `Silent` where nothing is
        heard for `silence_seconds`, and is never repeated by itself.
        """
        ask = Ask("watch", resource, namespace or self.namespace)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        return Watch(self._exchange, ask, query, silence_seconds)

    def create(self, resource: Resource, body: object, kind: type[T], *, namespace: str = "") -> T:
        """Create an object. Raises `Conflict` if there is one of this name."""
        ask = Ask("create", resource, namespace or self.namespace)
        return _decoded(ask, self._exchange.send(ask, "POST", body=body), kind)

    def replace(self, resource: Resource, name: str, body: object, kind: type[T], *, namespace: str = "") -> T:
        """Replace an object. Raises `Conflict` if it is not at the version that the body names."""
        ask = Ask("update", resource, namespace or self.namespace, name)
        return _decoded(ask, self._exchange.send(ask, "PUT", body=body), kind)

    def patch(
        self,
        resource: Resource,
        name: str,
        body: object,
        kind: type[T],
        *,
        how: Literal["merge", "json"] = "merge",
        namespace: str = "",
        subresource: str = "",
    ) -> T:
        """Change part of an object. A JSON patch whose `test` fails raises `Refused`."""
        ask = Ask("patch", resource, namespace or self.namespace, name, subresource)
        return _decoded(ask, self._exchange.send(ask, "PATCH", body=body, content_type=_PATCH_TYPES[how]), kind)

    def delete(
        self, resource: Resource, name: str, *, uid: str = "", grace_seconds: int | None = None, namespace: str = ""
    ) -> None:
        """Ask for an object's deletion; with `uid`, of this very one only (else `Conflict`)."""
        if not name:
            raise ValueError("without a name, this would delete all of them")
        options: dict[str, object] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        self._exchange.send(Ask("delete", resource, namespace or self.namespace, name), "DELETE", body=options)

    def server_version(self) -> tuple[int, int]:
        """The API server's version, such as (1, 30)."""
        ask = Ask("get", Resource("version", namespaced=False), "")
        said = _decoded(ask, self._exchange.send(ask, "GET", path="/version"), VersionInfo)
        minor = "".join(each for each in said.minor if each.isdecimal())  # some say `30+`
        return int(said.major), int(minor)


def _decoded(ask: Ask, body: bytes, kind: type[T]) -> T:
    try:
        read: T = _decoder(kind).decode(body)  # type: ignore[arg-type]  # every class is hashable
    except msgspec.MsgspecError as error:
        raise KubeError(f"can't {ask}: the answer can't be understood: {error}") from error
    return read
