"""What can go wrong with a request to the API server, as errors that fail one action and no more."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from sublet_hub.cluster.kube.objects import Status


class KubeError(ConnectionError):
    """The API server did not do what was asked. The message says what, and why."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """What the server asked for, if it did."""


class Away(KubeError):
    """No answer, or one that says that the server can't at the moment: worth repeating."""

    begun = True
    """Whether the server may have done what was asked."""


class Busy(Away):
    """Nothing was begun: the server has too much to do, or can't be reached."""

    begun = False


class Silent(Away):
    """Nothing was heard for too long: since when the server is no more can't be told."""


class Gone(KubeError):
    """The version that was named is too old: list again."""


class NotFound(KubeError):
    """There is no such object (any more)."""


class Conflict(KubeError):
    """The object exists already, or has been changed by somebody else meanwhile."""


class Forbidden(KubeError):
    """A right is missing; the message names it."""


class Refused(KubeError):
    """The request makes no sense to the server."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, as paths and access rules name it."""

    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True


PODS = Resource("pods")
NODES = Resource("nodes", namespaced=False)
LEASES = Resource("leases", group="coordination.k8s.io")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what is to be done to what."""

    verb: str
    """As RBAC has it: get, list, watch, create, update, patch, delete."""
    resource: Resource
    namespace: str
    name: str = ""
    subresource: str = ""

    @property
    def path(self) -> str:
        """Below the server's address. Source: https://kubernetes.io/docs/reference/using-api/api-concepts/."""
        root = f"/apis/{self.resource.group}" if self.resource.group else "/api"
        parts = [root, self.resource.version]
        if self.resource.namespaced:
            parts += ["namespaces", self.namespace]
        parts += [each for each in (self.resource.plural, self.name, self.subresource) if each]
        return "/".join(parts)

    @property
    def right(self) -> str:
        """The rule that allows it, in the words of a Role."""
        what = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        where = f"a Role in namespace {self.namespace}" if self.resource.namespaced else "a ClusterRole"
        return f'verb "{self.verb}" on resource "{what}" of API group "{self.resource.group}", by {where}'

    def __str__(self) -> str:
        what = f"{self.resource.plural} {self.name}".strip()
        return f"{self.verb} {what}" + (f" in namespace {self.namespace}" if self.resource.namespaced else "")


def from_answer(ask: Ask, code: int, body: bytes, retry_after: str | None) -> KubeError:
    """Say what an answer other than success means."""
    why = _reason(body) or _phrase(code)
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    if code == HTTPStatus.FORBIDDEN:
        return Forbidden(f"may not {ask}: grant {ask.right} ({why})")
    if code == HTTPStatus.UNAUTHORIZED:
        return Forbidden(f"can't {ask}: the API server does not accept this service account's token ({why})")
    message = f"can't {ask}: {why}"
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        return Busy(message, retry_after_seconds=seconds)
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Away(message, retry_after_seconds=seconds)
    return _MEANING.get(code, Refused)(message)


_MEANING: dict[int, type[KubeError]] = {
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
}


def _reason(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:  # whoever answered (a proxy in between?) is no API server
        return ""
    return said.message or said.reason


def _phrase(code: int) -> str:
    return f"HTTP status {code}"
