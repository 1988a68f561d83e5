"""Models' servers that the gateway starts on this machine: real ones, in the users' environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.models import Licence, Model, ModelCatalogue, Serving, Upstream
from sublet_hub.domain.quota import Quota
from sublet_hub.storage import quotas
from tests.fixtures.api_platform import api_platform
from tests.fixtures.platform import ROOT
from tests.fixtures.site import wait_until
from tests.gateway.conftest import World
from tests.gateway.running import Gateway, Hub, events, prepare, said, stopped_after, used
from tests.gateway.upstream import Upstream as Nobody

NOTEBOOK_PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
MAKE = Path(__file__).with_name("make_toy.py")
OPEN = Licence("open", "Open License", "1", "https://example.org/open")
ALL = {"include_usage": True}
MARK = "zyxmark-7b1f-content"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def model(name: str) -> Model:
    serving = Serving((Upstream(None, name, None, "transformers"),), 512, 128)
    return Model(name, name.title(), "Toy", "Chat", "", OPEN, "transformers", serving=serving)


def folder_of(data: Path, name: str) -> Path:
    return data / "models" / "open" / name / "main"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not NOTEBOOK_PYTHON.exists():
        pytest.skip("there is no environment of users' servers; `make setup` makes it")
    data = tmp_path_factory.mktemp("local")
    data.chmod(0o711)
    models = ModelCatalogue({"toy": model("toy"), "lost": model("lost")}, {"open": OPEN})
    folder_of(data, "toy").mkdir(parents=True)
    subprocess.run([NOTEBOOK_PYTHON, MAKE, folder_of(data, "toy")], check=True, timeout=120, capture_output=True)
    for made in folder_of(data, "toy").iterdir():
        made.chmod(0o644)  # as the store has them
    hub = Hub()
    with api_platform(hub, models) as api:
        quotas.set_quota(api.books, DEFAULT, Quota(()), actor="test", why="test")
        prepare(data, models)
        settings = {"SUBLET_MODEL_IDLE_SECONDS": "15", "SUBLET_NOTEBOOK_PYTHON": str(NOTEBOOK_PYTHON)}
        gateway = Gateway(data, api.url, settings=settings)
        with stopped_after(gateway):
            yield World(api, gateway.start(), Nobody(), hub, data)


def servers(world: World) -> list[psutil.Process]:
    """The models' servers that run, by what they were started as."""
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if (said := each.info["cmdline"] or []) and str(world.data) in " ".join(said) and "chat.py" in " ".join(said)
    ]


def test_a_server_is_started_answers_and_is_stopped_when_idle(local: World) -> None:
    assert servers(local) == []
    token = local.user("ann")
    answer = local.gateway.chat(f"hello there {MARK}", token, model="toy", max_tokens=5)
    assert answer.status_code == 200, answer.text + local.gateway.log()
    found = answer.json()
    assert found["model"] == "toy"
    assert found["usage"]["completion_tokens"] == 5
    streamed = local.gateway.chat("hello there", token, model="toy", max_tokens=4, stream=True)
    assert said(streamed.text)
    assert {event["model"] for event in events(streamed.text)} == {"toy"}
    assert streamed.text.endswith("data: [DONE]\n\n")
    given = found["usage"]["prompt_tokens"]
    wait_until(lambda: used(local.api, "ann", "toy")[0] == 2, 20, "both calls are booked")
    assert used(local.api, "ann", "toy")[2] == 9
    assert used(local.api, "ann", "toy")[1] > given
    answers_otherwise_too(local)

    for each in servers(local):
        if "supervisor" not in " ".join(each.cmdline()):
            assert 0 not in each.uids(), "never as root"
            ports = [found for found in each.net_connections("inet") if found.status == psutil.CONN_LISTEN]
            assert ports == [], "nobody gets around the gateway"
    for path in (local.data / "gateway").rglob("*"):
        if path.is_file():
            assert MARK.encode() not in path.read_bytes(), path
    wait_until(lambda: servers(local) == [], 60, "it is stopped when nobody calls")
    wait_until(lambda: not list((local.data / "gateway" / "local").iterdir()), 20, "nothing of it is left")


def answers_otherwise_too(local: World) -> None:
    """Responses and completions, whole and streamed, each with its own record of use."""
    token = local.user("eva")
    made = 0
    with local.gateway.client(token) as client:
        for stream in (False, True):
            asked = {"model": "toy", "input": f"hello there {MARK}", "max_output_tokens": 3, "stream": stream}
            answer = client.post("/services/models/v1/responses", json=asked)
            assert answer.status_code == 200, answer.text
            whole = events(answer.text)[-1]["response"] if stream else answer.json()
            assert whole["model"] == "toy"
            made += whole["usage"]["output_tokens"]
            asked = {"model": "toy", "prompt": "hello there", "max_tokens": 3, "stream": stream}
            answer = client.post(
                "/services/models/v1/completions", json=asked | ({"stream_options": ALL} if stream else {})
            )
            assert answer.status_code == 200, answer.text
            whole = events(answer.text)[-1] if stream else answer.json()
            made += whole["usage"]["completion_tokens"]
    wait_until(lambda: used(local.api, "eva", "toy")[0] == 4, 20, "all four are booked")
    assert used(local.api, "eva", "toy")[2] == made


def test_a_server_that_is_killed_is_started_again(local: World) -> None:
    token = local.user("ben")
    assert local.gateway.chat("hello", token, model="toy", max_tokens=2).status_code == 200
    for each in servers(local):
        os.kill(each.pid, signal.SIGKILL)
    wait_until(lambda: servers(local) == [], 20, "it is gone")
    assert local.gateway.chat("hello", token, model="toy", max_tokens=2).status_code == 200


def test_a_model_whose_files_are_not_there_is_said_to_be_away(local: World) -> None:
    answer = local.gateway.chat("hello", local.user("cleo"), model="lost")
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("/model-away")
    assert used(local.api, "cleo", "lost") == (0, 0, 0)


def test_the_servers_end_with_the_gateway(local: World) -> None:
    """In an orderly way. One that is killed leaves them two minutes: the deadline in their parent."""
    gateway = local.another()
    assert gateway.chat("hello", local.user("dora"), model="toy", max_tokens=2).status_code == 200
    (deadline,) = [
        json.loads(path.read_text())["deadline_at_ms"] for path in local.data.rglob("deadline") if "toy" in str(path)
    ][-1:]
    assert deadline > 0
    assert gateway.stop() == 0
    assert httpx.get(f"{local.gateway.url}/services/models/health", trust_env=False).status_code == 200
