"""The Responses API: other names for limits, another shape of streams, and the record of use in the last event."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from sublet_hub.domain.models import Serving, Upstream
from sublet_hub.gateway import asked
from sublet_hub.gateway.asked import CHAT, EMBEDDINGS, RESPONSES, Endpoint
from sublet_hub.gateway.events import DELTA, Events
from sublet_hub.gateway.exchange import Refusal
from tests.fixtures.site import wait_until
from tests.gateway.conftest import World
from tests.gateway.running import OUTPUT_MAX, events, until_used, used

PATH = "/services/models/v1/responses"
SERVING = Serving((Upstream("http://127.0.0.1:1/v1", "there"),), 1000, 100)


def ask(world: World, user: str, said: Any, **more: object) -> httpx.Response:
    with world.gateway.client(world.user(user)) as client:
        return client.post(PATH, json={"model": "tiny", "input": said, **more})


def test_an_answer_comes_whole_where_no_stream_is_asked_for(world: World) -> None:
    answer = ask(world, "uma", "one two three", max_output_tokens=4)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["model"], found["usage"]["output_tokens"]) == ("tiny", 4)
    sent = world.upstream.asked[-1]
    assert (sent["stream"], sent["store"], sent["max_output_tokens"]) == (False, False, 4)
    until_used(world.api, (1, 3, 4), "uma")


def test_a_stream_ends_with_its_record_and_nothing_of_ours(world: World) -> None:
    answer = ask(world, "vic", "one two", max_output_tokens=3, stream=True)
    found = events(answer.text)
    assert [event["type"].rpartition(".")[2] for event in found] == [
        "created",
        "delta",
        "delta",
        "delta",
        "completed",
    ]
    assert found[-1]["response"]["usage"]["input_tokens"] == 2, "this record is the caller's too"
    assert {event["response"]["model"] for event in found if "response" in event} == {"tiny"}
    assert "[DONE]" not in answer.text
    until_used(world.api, (1, 2, 3), "vic")


def test_a_stream_that_is_cut_short_is_said_to_be_and_its_pieces_are_counted(world: World) -> None:
    answer = ask(world, "wyn", "[cut] two", max_output_tokens=5, stream=True)
    assert events(answer.text)[-1]["error"]["message"] == "The model's server broke off in the middle of its answer."
    wait_until(lambda: used(world.api, "wyn")[0] == 1, 20, "it is booked")
    assert used(world.api, "wyn")[2] == 5, "a token for each piece, and none for what frames them"


def test_a_caller_who_leaves_pays_what_the_record_says(world: World) -> None:
    with world.gateway.client(world.user("xav")) as client:
        body = {"model": "tiny", "input": "[slow] two", "max_output_tokens": 8, "stream": True}
        with client.stream("POST", PATH, json=body) as answer:
            next(line for line in answer.iter_lines() if DELTA.decode() in line)
    until_used(world.api, (1, 2, 8), "xav")


def test_where_no_limit_is_named_the_models_is_set(world: World) -> None:
    assert ask(world, "yan", "hi").status_code == 200
    assert world.upstream.asked[-1]["max_output_tokens"] == OUTPUT_MAX


# ---------------------------------------------------------------- parts


def test_of_two_limits_the_smaller_holds_for_both() -> None:
    """A server that went by the greater would spend what is not reserved."""
    said = {"model": "tiny", "messages": [], "max_tokens": 900, "max_completion_tokens": 7}
    read = asked.read(CHAT, json.dumps(said).encode())
    sent = json.loads(asked.forwarded(read, "there", None, asks_usage=True, counts_running=False))
    assert (sent["max_tokens"], sent["max_completion_tokens"]) == (7, 7)
    assert read.output_bound(SERVING) == 7


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}


@pytest.mark.parametrize(
    ("endpoint", "body", "whole"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "hi"}]}, False),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}, False),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, PICTURE]}]}, True),
        (CHAT, {"messages": [{"role": "user", "content": [{"image_url": "https://example.org/cat.png"}]}]}, True),
        (CHAT, {"messages": ["nonsense", None]}, False),
        (RESPONSES, {"input": "hi"}, False),
        (RESPONSES, {"input": [{"role": "user", "content": "hi"}, {"type": "reasoning", "summary": []}]}, False),
        (RESPONSES, {"input": [{"type": "input_image", "image_url": "https://example.org/cat.png"}]}, True),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, True),
        (RESPONSES, {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}, True),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}, True),
        (EMBEDDINGS, {"input": ["a", "b"]}, False),
    ],
)
def test_pictures_may_take_the_whole_context(endpoint: Endpoint, body: dict[str, Any], whole: bool) -> None:
    """The address of a picture is shorter than what it takes."""
    raw = json.dumps({"model": "tiny", **body}).encode()
    assert asked.read(endpoint, raw).input_bound(SERVING) == (1000 if whole else len(raw))


def test_a_long_conversation_is_one_prompt() -> None:
    turns = [{"role": "user", "content": "word " * 100}] * 20
    read = asked.read(RESPONSES, json.dumps({"model": "tiny", "input": turns}).encode())
    assert read.input_bound(SERVING) == SERVING.context_tokens


def test_pieces_are_told_from_frames_however_the_stream_is_split() -> None:
    delta = b'data: {"type":"response.output_text.delta","delta":"said \\".delta\\" twice"}\n\n'
    frame = b'data: {"type":"response.in_progress","usage":null}\n\n: a comment\n\ndata: {"type":"response.done"}\n\n'
    whole = frame + 3 * delta + frame
    for size in (1, 7, 1000):
        reader = Events(piece=DELTA)
        for at in range(0, len(whole), size):
            reader.feed(whole[at : at + size])
        assert reader.events == 3


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, b'{"detail":"Not Found"}', "The model's server has no embeddings."),
        (405, b"", "The model's server has no embeddings."),
        (404, b'{"error":{"message":"The model `x` does not exist."}}', "The model `x` does not exist."),
        (501, b'{"error":{"message":"Start it with --embeddings"}}', "Start it with --embeddings"),
    ],
)
def test_an_endpoint_that_a_server_has_not_is_named(status: int, body: bytes, told: str) -> None:
    refused = Refusal(status, body).public(EMBEDDINGS)
    assert (refused.message, refused.upstream_status) == (told, status)
