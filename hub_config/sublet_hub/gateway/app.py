"""The gateway's routes, in plain ASGI: thousands of events a second pass here, and there are eight routes."""

from __future__ import annotations

import json
import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from sublet_hub.domain.errors import NotAllowed, NotFound, PublicError
from sublet_hub.domain.models import Model, ModelCatalogue
from sublet_hub.gateway import asked as reading
from sublet_hub.gateway import metrics
from sublet_hub.gateway.answering import JSON, Client, Gone
from sublet_hub.gateway.asked import ENDPOINTS
from sublet_hub.gateway.callers import Callers
from sublet_hub.gateway.errors import GatewayFailed, LicenceNotAccepted, ModelBusy
from sublet_hub.gateway.platform_api import Caller
from sublet_hub.gateway.rates import Rates
from sublet_hub.gateway.relay import Relay
from sublet_hub.gateway.room import Room

log = logging.getLogger(__name__)

PREFIX = "/services/models/"
API = f"{PREFIX}v1/"
IN_FLIGHT_MAX = 2_000
"""Calls at once in one process; more are refused at once."""


class MethodNotSupported(PublicError):
    """The address is there, but not for this method."""

    type_name = "method-not-supported"
    title = "The address has no such method"
    status = 405


def create_app(catalogue: ModelCatalogue, callers: Callers, rates: Rates, relay: Relay) -> ASGIApp:
    """The application, of parts that somebody else starts and stops."""
    return _Gateway(catalogue, callers, rates, relay)


class _Gateway:
    def __init__(self, catalogue: ModelCatalogue, callers: Callers, rates: Rates, relay: Relay) -> None:
        self._catalogue = catalogue
        self._callers = callers
        self._rates = rates
        self._room = Room()
        self._relay = relay
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        client = Client(scope, receive, send)
        self._in_flight += 1
        try:
            await self._serve(client)
        except Gone:
            return
        except PublicError as error:
            await client.refuse(error)
        except Exception as error:
            # The top of the loop: whatever nobody foresaw is logged, without what was said, and counted.
            log.exception("a call failed")
            metrics.FAILURES.labels(type(error).__name__).inc()
            await client.refuse(GatewayFailed("Something went wrong on our side. It has been logged."))
        finally:
            self._in_flight -= 1
            client.close()

    async def _serve(self, client: Client) -> None:
        path, method = str(client.scope["path"]), str(client.scope["method"])
        if not path.startswith(API):
            await self._about_us(client, path, method)
            return
        name = path[len(API) :]
        endpoint = ENDPOINTS.get(name)
        if endpoint is None:
            await self._models(client, name, method)
            return
        _only(method, "POST")
        if self._in_flight > IN_FLIGHT_MAX:
            raise ModelBusy("Too many calls are being answered just now. Try again shortly.")
        caller = await self._callers.caller(client.header(b"authorization"))
        self._rates.count(caller.account)
        try:
            with self._room.share(caller.account) as share:
                body = await client.read(reading.BODY_BYTES_MAX, share.take)
                share.take_parts(body)
                asked = reading.read(endpoint, body)
                del body  # of two copies one is enough, however long the call takes
                await self._relay.call(asked, caller, client)
        except LicenceNotAccepted:
            # It may just have been accepted: ask anew the next time.
            self._callers.forget(client.header(b"authorization"))
            raise

    async def _models(self, client: Client, name: str, method: str) -> None:
        """`/v1/models`, and `/v1/models/{name}`."""
        head, _, wanted = name.partition("/")
        if head != "models":
            raise NotFound("There is nothing at this address. OpenAI's endpoints are under /services/models/v1/.")
        _only(method, "GET", "HEAD")
        caller = await self._callers.caller(client.header(b"authorization"))
        if wanted:
            shown: dict[str, object] = _shown(self._visible(wanted, caller), caller)
        else:
            data = [_shown(each, caller) for each in self._catalogue.served if caller.accepted(each.name) is not None]
            shown = {"object": "list", "data": data}
        await client.answer(json.dumps(shown).encode(), JSON)

    def _visible(self, name: str, caller: Caller) -> Model:
        model = self._catalogue.models.get(name)
        if model is None or model.serving is None or caller.accepted(name) is None:
            raise NotFound("There is no such model to call here.", field="model")
        return model

    async def _about_us(self, client: Client, path: str, method: str) -> None:
        """Health, and metrics, which are for this host's or cluster's own eyes."""
        if path == f"{PREFIX}health":
            _only(method, "GET", "HEAD")
            await client.answer(b'{"status": "ok"}', JSON)
        elif path == f"{PREFIX}metrics":
            _only(method, "GET", "HEAD")
            if client.header(b"x-forwarded-for"):
                raise NotAllowed("Metrics are to be had at the gateway's own port only.")
            await client.answer(metrics.text(), [(b"content-type", metrics.CONTENT_TYPE.encode())])
        else:
            raise NotFound("There is nothing at this address. OpenAI's endpoints are under /services/models/v1/.")


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise MethodNotSupported(f"Only {' and '.join(allowed)} here.")


def _shown(model: Model, caller: Caller) -> dict[str, object]:
    """A model as OpenAI's API lists it, and what else helps to choose one."""
    serving = model.serving
    assert serving is not None, "only served models are listed"
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": model.family,
        "title": model.title,
        "task": model.task,
        "licence": model.licence.name,
        "licence_accepted": bool(caller.accepted(model.name)),
        "context_tokens": serving.context_tokens,
        "output_tokens_max": serving.output_tokens_max,
        "input_microunits_per_million_tokens": serving.input_microunits_per_million_tokens,
        "output_microunits_per_million_tokens": serving.output_microunits_per_million_tokens,
    }
