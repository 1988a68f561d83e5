"""A server that can tell its counts with each event is told to stop when nobody listens any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.quota import Quota
from sublet_hub.storage import quotas
from tests.fixtures.api_platform import api_platform
from tests.fixtures.site import wait_until
from tests.gateway.conftest import SETTINGS, World
from tests.gateway.running import Gateway, Hub, catalogue, events, prepare, said, stopped_after, until_used, used
from tests.gateway.test_misbehaving import leave_after
from tests.gateway.upstream import upstream


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    data: Path = tmp_path_factory.mktemp("vllm")
    hub = Hub()
    with upstream(is_vllm=True) as server, api_platform(hub, catalogue(server.url)) as api:
        quotas.set_quota(api.books, DEFAULT, Quota(()), actor="test", why="test")
        prepare(data, catalogue(server.url))
        gateway = Gateway(data, api.url, settings=SETTINGS)
        with stopped_after(gateway):
            gateway.start()
            world = World(api, gateway, server, hub, data)

            def is_known() -> bool:
                gateway.chat("hi", stream=True, max_tokens=1)
                return bool(server.asked[-1]["stream_options"].get("continuous_usage_stats"))

            wait_until(is_known, 20, "the gateway knows what the server is")
            yield world


def test_the_counts_in_each_event_are_not_the_callers(vllm: World) -> None:
    answer = vllm.gateway.chat("one two", vllm.user("ann"), stream=True, max_tokens=4)
    assert said(answer.text) == "alpha beta gamma delta "
    assert "usage" not in answer.text
    assert all(event["choices"] for event in events(answer.text))


def test_the_server_is_told_to_stop_and_what_it_made_is_booked(vllm: World) -> None:
    aborted, sent = vllm.upstream.aborted, vllm.upstream.sent_tokens
    leave_after(vllm, "left", "[slow] two", 3, max_tokens=100)
    wait_until(lambda: vllm.upstream.running == 0, 10, "the server has stopped")
    wait_until(lambda: used(vllm.api, "left")[0] == 1, 20, "it is booked")
    assert vllm.upstream.aborted == aborted + 1
    made = vllm.upstream.sent_tokens - sent
    calls, given, booked = used(vllm.api, "left")
    assert (calls, given) == (1, 2)
    assert 3 <= booked <= made < 50
    assert made - booked <= 3, "what was under way when the caller left"


def test_a_response_is_read_on_to_its_record_which_comes_at_its_end_only(vllm: World) -> None:
    body = {"model": "tiny", "input": "[slow] two", "max_output_tokens": 8, "stream": True}
    path, client = "/services/models/v1/responses", vllm.gateway.client(vllm.user("resp"))
    with client, client.stream("POST", path, json=body) as answer:
        next(line for line in answer.iter_lines() if "delta" in line)
    until_used(vllm.api, (1, 2, 8), "resp")
