"""What a caller asks for: the body of a call, as far as the gateway needs to understand it. The rest is the model's
server's business and passed on as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sublet_hub.domain.errors import InvalidRequest
from sublet_hub.domain.models import Serving

BODY_BYTES_MAX = 16 * 2**20
CHOICES_MAX = 128
TEXT_ITEMS = frozenset({"message", "function_call", "function_call_output", "reasoning"})
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "reasoning_text", "summary_text"})
"""What a conversation is made of where it is words alone; all else is taken for a picture, a sound or a file."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of OpenAI's endpoints. `limits` are the names that the most output tokens may have; the first is the one
    that we set. None: it has no output tokens."""

    path: str
    limits: tuple[str, ...] = ()
    streams: bool = False
    usage_on_demand: bool = False
    """Whether a stream has the record of use only where `stream_options` asks for it."""


CHAT = Endpoint("chat/completions", ("max_tokens", "max_completion_tokens"), streams=True, usage_on_demand=True)
COMPLETIONS = Endpoint("completions", ("max_tokens",), streams=True, usage_on_demand=True)
RESPONSES = Endpoint("responses", ("max_output_tokens",), streams=True)
EMBEDDINGS = Endpoint("embeddings")
CLASSIFY = Endpoint("classify")
ENDPOINTS = {each.path: each for each in (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, CLASSIFY)}


@dataclass(slots=True)
class Asked:
    """One call, read. `output_max` is what its caller allows of output tokens, for each choice; None: not said."""

    endpoint: Endpoint
    body: dict[str, Any] = field(repr=False)
    size: int
    model: str
    stream: bool
    wants_usage: bool
    output_max: int | None
    choices: int

    def input_bound(self, serving: Serving) -> int:
        """At most so many input tokens: no token is less than a byte, and what templates add is less than what JSON
        takes; a single prompt can't be longer than the model's context. Pictures and the like may take more tokens
        than they have bytes here: an address of one is short."""
        if _has_media(self.body):
            return serving.context_tokens
        prompts = self.body.get("prompt", self.body.get("input"))
        many = len(prompts) if isinstance(prompts, list) and self.endpoint is not RESPONSES else 1
        return min(self.size, serving.context_tokens * max(1, many))

    def output_bound(self, serving: Serving) -> int:
        """At most so many output tokens of each choice."""
        if not self.endpoint.limits:
            return 0
        return serving.output_tokens_max if self.output_max is None else self.output_max


def read(endpoint: Endpoint, raw: bytes) -> Asked:
    """Read a body. InvalidRequest names the field, and never repeats what it holds."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.", field="body") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.", field="body")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("Say which model: its name, as /v1/models lists it.", field="model")
    stream = _flag(body, "stream")
    if stream and not endpoint.streams:
        raise InvalidRequest("This endpoint does not stream.", field="stream")
    if endpoint is RESPONSES and (body.get("background") or body.get("previous_response_id")):
        raise InvalidRequest("Nothing is kept here: send the whole conversation, and wait.", field="store")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("It must be an object.", field="stream_options")
    return Asked(
        endpoint=endpoint,
        body=body,
        size=len(raw),
        model=model,
        stream=stream,
        wants_usage=bool((options or {}).get("include_usage")),
        output_max=_output_max(endpoint, body),
        choices=_choices(endpoint, body),
    )


def _has_media(body: dict[str, Any]) -> bool:
    """Whether there is more than text in a conversation, as chat (`messages`) or as responses (`input`) have it."""
    items = [each for name in ("messages", "input") if isinstance(body.get(name), list) for each in body[name]]
    for item in items:
        if not isinstance(item, dict):
            continue
        if "role" not in item and item.get("type") not in TEXT_ITEMS | TEXT_PARTS:
            return True
        parts = [each for name in ("content", "output") if isinstance(item.get(name), list) for each in item[name]]
        if any(isinstance(part, dict) and part.get("type") not in TEXT_PARTS for part in parts):
            return True
    return False


def _output_max(endpoint: Endpoint, body: dict[str, Any]) -> int | None:
    said = [(name, body[name]) for name in endpoint.limits if body.get(name) is not None]
    for name, value in said:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidRequest("It must be a whole number of tokens, at least 1.", field=name)
    return min((value for _, value in said), default=None)


def _choices(endpoint: Endpoint, body: dict[str, Any]) -> int:
    """How many answers one call makes: so many for each prompt."""
    made = 1
    for name in ("n", "best_of"):
        value = body.get(name)
        if value is None or not endpoint.limits:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= CHOICES_MAX:
            raise InvalidRequest(f"It must be a whole number from 1 to {CHOICES_MAX}.", field=name)
        made = max(made, value)
    prompts = body.get("prompt")
    if endpoint is COMPLETIONS and isinstance(prompts, list) and not all(isinstance(each, int) for each in prompts):
        made *= max(1, len(prompts))
    return made


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest("It must be true or false.", field=name)
    return bool(value)


def check_bounds(asked: Asked, serving: Serving) -> None:
    """InvalidRequest where more output is asked for than the model gives."""
    if asked.output_max is not None and asked.output_max > serving.output_tokens_max:
        name = next(each for each in asked.endpoint.limits if asked.body.get(each) is not None)
        raise InvalidRequest(
            f"{asked.model} gives at most {serving.output_tokens_max} tokens of output here.", field=name
        )


def forwarded(
    asked: Asked, upstream_model: str, output_max: int | None, *, asks_usage: bool, counts_running: bool
) -> bytes:
    """The body for the model's server: its own name for the model, one limit to the output (ours where the caller has
    set none), and the wish for a record of use. Nothing is to be kept there either."""
    body = dict(asked.body)
    body["model"] = upstream_model
    if output_max is not None:
        body[asked.endpoint.limits[0]] = output_max
    for name in asked.endpoint.limits:
        # Of two that differ, a server may well go by the greater, and only the smaller is reserved.
        if body.get(name) is not None and asked.output_max is not None:
            body[name] = asked.output_max
    if asked.endpoint is RESPONSES:
        body["store"] = False
        body["stream"] = asked.stream  # Transformers' server streams where it isn't said
    if asked.stream and asked.endpoint.usage_on_demand and asks_usage:
        options = dict(body.get("stream_options") or {})
        options["include_usage"] = True
        if counts_running:
            options["continuous_usage_stats"] = True
        body["stream_options"] = options
    return json.dumps(body, separators=(",", ":")).encode()
