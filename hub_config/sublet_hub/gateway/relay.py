"""One call from its arrival to its end: who, may they, what may it cost, whose turn, which server, what did it
take."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from sublet_hub.domain.errors import NotFound, PublicError
from sublet_hub.domain.models import Model, ModelCatalogue, Serving
from sublet_hub.gateway import asked as reading
from sublet_hub.gateway import exchange, metrics
from sublet_hub.gateway.amounts import Counts, Spend, output_within, spend_of
from sublet_hub.gateway.answering import EVENT_STREAM, JSON, Client
from sublet_hub.gateway.asked import Asked
from sublet_hub.gateway.errors import LicenceNotAccepted, ModelAway, ModelFailed, ModelSilent
from sublet_hub.gateway.events import DELTA, Events, renames
from sublet_hub.gateway.platform_api import Caller
from sublet_hub.gateway.purses import Purses, Reservation
from sublet_hub.gateway.rates import Rates
from sublet_hub.gateway.turns import Turns
from sublet_hub.gateway.upstreams import Server, Servers
from sublet_hub.gateway.usage import counts_in, estimated

log = logging.getLogger(__name__)

MODELS_PAGE = "/services/sublet/models"
DRAIN_SECONDS = 30.0
"""How long a stream is read on that nobody waits for, so that its record of use comes."""
LEAST_OUTPUT_TOKENS = 256
"""What must be left of a quota for a call that sets no limit itself; less is not worth an answer."""
OVERRUN_EVENTS = 64
"""So many events more than tokens are taken from a server before it is said to give more than it was asked for."""
ENVELOPE_BYTES = 300
"""About what an answer in JSON has beside what the model says."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds a call may take, and a server be silent in a stream; tokens to ask for at a time."""

    call_seconds: float
    silence_seconds: float
    ahead_tokens: int


@dataclass(slots=True)
class Call:
    """One call while it runs."""

    asked: Asked
    model: Model
    serving: Serving
    reservation: Reservation
    input_max: int
    output_max: int
    """What it may have in all, and of output tokens for each choice."""
    begun: float
    sets_output: bool
    """Whether the limit of the output is ours rather than the caller's."""
    asks_usage: bool = True
    counts_running: bool = False
    outcome: str = "done"
    first_byte_at: float | None = field(default=None)

    def estimate(self, output_bytes: int, events: int) -> Counts:
        metrics.UNMEASURED.labels(self.model.name).inc()
        most = (self.input_max, self.output_max * self.asked.choices)
        return estimated(self.asked.size, output_bytes, events, most)


class Relay:
    """Carries calls out. One for the process."""

    def __init__(
        self,
        catalogue: ModelCatalogue,
        purses: Purses,
        turns: Mapping[str, Turns],
        servers: Servers,
        rates: Rates,
        limits: Limits,
    ) -> None:
        self._catalogue = catalogue
        self._purses = purses
        self._turns = turns
        self._servers = servers
        self._rates = rates
        self._limits = limits

    def model_for(self, name: str, caller: Caller) -> Model:
        """The model that the caller may call by this name. NotFound or LicenceNotAccepted."""
        model = self._catalogue.models.get(name)
        if model is None or model.serving is None or caller.accepted(name) is None:
            known = ", ".join(each.name for each in self._catalogue.served) or "none"
            raise NotFound(f"There is no such model to call here. Models: {known}.", field="model")
        if not caller.accepted(name):
            link = f"{MODELS_PAGE}?model={name}"
            raise LicenceNotAccepted(
                f"{model.title} is under {model.licence.title}, which has to be accepted first: at {link} of this "
                "platform, or in JupyterLab.",
                link=link,
                licence=model.licence.name,
                version=model.licence.version,
                model=name,
            )
        return model

    async def call(self, asked: Asked, caller: Caller, client: Client) -> None:
        """Carry one call out and answer it. PublicError where it fails before the answer has begun."""
        begun = time.perf_counter()
        model = self.model_for(asked.model, caller)
        assert model.serving is not None, "model_for gives served models only"
        reading.check_bounds(asked, model.serving)
        self._rates.count_of(caller.account, model)
        client.watch()
        turn = await self._turns[model.name].take(caller.account)
        with turn:
            if client.is_gone:
                return
            call = await self._begun(asked, model, caller, begun)
            try:
                async with asyncio.timeout(self._limits.call_seconds):
                    await self._carry_out(call, client)
            except TimeoutError:
                call.outcome = ModelSilent.type_name
                raise ModelSilent(f"The call took longer than {self._limits.call_seconds:.0f} s.") from None
            except PublicError as error:
                call.outcome = error.type_name
                raise
            except BaseException:
                call.outcome = "failed"
                raise
            finally:
                self._settle(call, None)
                self._count(call, client)

    # ---------------------------------------------------------------- before

    async def _begun(self, asked: Asked, model: Model, caller: Caller, begun: float) -> Call:
        """The call with what it may cost set aside."""
        serving = model.serving
        assert serving is not None, "model_for gives served models only"
        given, made = asked.input_bound(serving), asked.output_bound(serving)
        sets_output = bool(asked.endpoint.limits) and asked.output_max is None
        wanted = spend_of(serving, given, made * asked.choices)
        least_made = min(made, LEAST_OUTPUT_TOKENS) if sets_output else made
        least = spend_of(serving, given, least_made * asked.choices)
        ahead = spend_of(serving, 0, self._limits.ahead_tokens)
        reservation = await self._purses.reserve(caller.payer, wanted, least, ahead)
        if not reservation.spend.covers(wanted):
            made = max(1, output_within(serving, reservation.spend, given) // asked.choices)
        return Call(asked, model, serving, reservation, given, made, begun, sets_output)

    # ---------------------------------------------------------------- asking

    async def _carry_out(self, call: Call, client: Client) -> None:
        tried: list[Server] = []
        while True:
            server = await self._servers.pick(call.model, tried)
            tried.append(server)
            server.running += 1
            try:
                answer = await self._ask(call, server)
            except exchange.CanNotConnect:
                server.fell("connect", time.monotonic())
                if len(tried) == exchange.TRIES_MAX:
                    raise ModelAway(f"No server of {call.model.name} answers just now.") from None
            else:
                server.works()
                await self._pass_on(call, server, answer, client)
                return
            finally:
                self._servers.ended(server)

    async def _ask(self, call: Call, server: Server) -> aiohttp.ClientResponse:
        """Ask; and once more, more simply, where the server doesn't take what we added to the call."""
        silence = self._limits.silence_seconds if call.asked.stream else self._limits.call_seconds
        call.counts_running = server.counts_running and call.asked.endpoint.usage_on_demand
        while True:
            try:
                return await exchange.ask(server, call.asked.endpoint, self._body(call, server), silence)
            except exchange.Refusal as refusal:
                if not await self._simplified(call, refusal):
                    raise refusal.public(call.asked.endpoint) from None
            except (ModelFailed, ModelSilent) as error:
                server.stumbled("silent" if isinstance(error, ModelSilent) else "broke", time.monotonic())
                raise

    def _body(self, call: Call, server: Server) -> bytes:
        output_max = call.output_max if call.asked.endpoint.limits and call.sets_output else None
        return reading.forwarded(
            call.asked,
            server.upstream.model,
            output_max,
            asks_usage=call.asks_usage,
            counts_running=call.counts_running,
        )

    async def _simplified(self, call: Call, refusal: exchange.Refusal) -> bool:
        """Leave out what the server stumbled over, if it is of our making."""
        asked = call.asked
        if call.asks_usage and asked.stream and not asked.wants_usage and refusal.mentions(b"stream_options"):
            call.asks_usage = False
            return True
        if call.sets_output and refusal.mentions(b"max_tokens", b"context length", b"maximum"):
            # Prompt and output together are more than its context. The prompt has at most one token for each byte.
            fits = call.serving.context_tokens - call.input_max
            call.output_max = fits if LEAST_OUTPUT_TOKENS <= fits < call.output_max else call.output_max // 2
            return call.output_max >= 1
        return False

    # ---------------------------------------------------------------- answering

    async def _pass_on(self, call: Call, server: Server, answer: aiohttp.ClientResponse, client: Client) -> None:
        try:
            if call.asked.stream:
                await self._pass_on_stream(call, server, answer, client)
            else:
                await self._pass_on_whole(call, server, answer, client)
        except ModelSilent:
            server.stumbled("silent", time.monotonic())
            raise
        except ModelFailed:
            server.stumbled("garbage", time.monotonic())
            raise
        finally:
            client.when_gone(None)
            # One that was read to its end is kept for the next call by itself.
            answer.close()

    async def _pass_on_whole(
        self, call: Call, server: Server, answer: aiohttp.ClientResponse, client: Client
    ) -> None:
        body = await exchange.whole(answer)
        call.first_byte_at = time.perf_counter()
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            raise ModelFailed("The model's server sent what is not valid JSON.") from None
        if not isinstance(said, dict):
            raise ModelFailed("The model's server sent what is no answer.")
        counts = counts_in(said) or call.estimate(max(0, len(body) - ENVELOPE_BYTES), 0)
        self._settle(call, counts)
        for theirs, ours in renames(server.names, call.model.name):
            body = body.replace(theirs, ours)
        await client.answer(body, JSON)

    async def _pass_on_stream(
        self, call: Call, server: Server, answer: aiohttp.ClientResponse, client: Client
    ) -> None:
        if answer.content_type != "text/event-stream":
            raise ModelFailed("The model's server was asked for a stream and sent something else.")
        events = Events(not call.asked.wants_usage, renames(server.names, call.model.name))
        if call.asked.endpoint is reading.RESPONSES:
            events.piece = DELTA
        loop = asyncio.get_running_loop()
        client.when_gone(lambda: _stop_reading(loop, answer, call))
        await client.begin(EVENT_STREAM)
        try:
            async for piece in exchange.pieces_of(answer):
                if call.first_byte_at is None:
                    call.first_byte_at = time.perf_counter()
                out = events.feed(piece)
                self._check_overrun(call, events)
                if events.is_done:
                    self._settle(call, self._counts(call, events))
                if out and not client.is_gone:
                    await client.write(out)
            last = events.end()
        except PublicError:
            if not client.is_gone:
                raise
            last = b""
        finally:
            self._settle(call, self._counts(call, events))
        await client.end(last)

    def _check_overrun(self, call: Call, events: Events) -> None:
        """A server that goes on past what it was asked for would spend what nobody has."""
        most = call.output_max * call.asked.choices
        counted = events.counts
        if events.events > 2 * most + OVERRUN_EVENTS or (
            counted is not None and not events.is_finished and counted.output_tokens > most + OVERRUN_EVENTS
        ):
            raise ModelFailed("The model's server gave more than it was asked for.")

    # ---------------------------------------------------------------- after

    @staticmethod
    def _counts(call: Call, events: Events) -> Counts | None:
        """What a stream took so far; None where nothing came."""
        if call.reservation.is_settled:
            return None
        if events.counts is not None:
            return events.counts
        return call.estimate(events.output_bytes, events.events) if events.events else None

    def _settle(self, call: Call, counts: Counts | None) -> None:
        """Book, once; what was told first counts."""
        if call.reservation.is_settled:
            return
        spend = Spend() if counts is None else counts.spend(call.serving)
        self._purses.settle(call.reservation, call.model.name, counts, spend)
        if counts is not None:
            metrics.tokens(call.model.name, "input").inc(counts.input_tokens)
            metrics.tokens(call.model.name, "output").inc(counts.output_tokens)

    @staticmethod
    def _count(call: Call, client: Client) -> None:
        name = call.model.name
        outcome = "gone" if client.is_gone else call.outcome
        metrics.calls(name, call.asked.endpoint.path, outcome).inc()
        log.debug("a call of %s (%s) has ended: %s", name, call.asked.endpoint.path, outcome)
        metrics.call_seconds(name).observe(time.perf_counter() - call.begun)
        if call.first_byte_at is not None:
            metrics.first_byte(name).observe(call.first_byte_at - call.begun)


def _stop_reading(loop: asyncio.AbstractEventLoop, answer: aiohttp.ClientResponse, call: Call) -> None:
    """Nobody waits for the answer any more. Where the counts so far are known the server is told to stop, by hanging
    up; else it is read on for a while, for the record at its end."""
    loop.call_later(0.0 if call.counts_running else DRAIN_SECONDS, answer.close)
