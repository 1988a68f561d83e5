"""Clients as people have them, unchanged: OpenAI's, curl, and where they are there LangChain's and LiteLLM's.

The last two are too large to be installed for this; `SUBLET_TEST_CLIENTS` names a Python that has them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fixtures.platform import ROOT
from tests.fixtures.site import wait_until
from tests.gateway.conftest import World
from tests.gateway.running import Gateway, allow_tokens, body, used

pytestmark = pytest.mark.slow

NOTEBOOK_PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
OTHERS = os.environ.get("SUBLET_TEST_CLIENTS", "")

OPENAI = """
import openai
client = openai.OpenAI(max_retries=0)
asked = dict(model="tiny", messages=[dict(role="user", content="one two")], max_tokens=3)
answer = client.chat.completions.create(**asked)
assert answer.choices[0].message.content == "alpha beta gamma", answer
assert answer.usage.total_tokens == 5
pieces = list(client.chat.completions.create(stream=True, **asked))
assert "".join(p.choices[0].delta.content or "" for p in pieces) == "alpha beta gamma ", pieces
with_usage = list(client.chat.completions.create(stream=True, stream_options=dict(include_usage=True), **asked))
assert with_usage[-1].usage.total_tokens == 5
assert [m.id for m in client.models.list()][0] == "tiny"
assert len(client.embeddings.create(model="tiny", input=["a", "b"]).data) == 2
for error, wrong in (
    (openai.NotFoundError, dict(asked, model="none")),
    (openai.PermissionDeniedError, dict(asked, model="gated")),
    (openai.UnprocessableEntityError, dict(asked, max_tokens=-1)),
    (openai.InternalServerError, dict(asked, messages=[dict(role="user", content="[fails]")])),
):
    try:
        client.chat.completions.create(**wrong)
    except error as told:
        assert told.body["message"], told.body
    else:
        raise AssertionError(error)
try:
    list(client.chat.completions.create(stream=True, **dict(asked, messages=[dict(role="user", content="[cut]")])))
except openai.APIError as told:
    assert "broke off" in told.message
else:
    raise AssertionError("a stream that breaks off must raise")
print("good")
"""

OVER_QUOTA = """
import openai, time
begun = time.monotonic()
try:
    openai.OpenAI().chat.completions.create(model="tiny", messages=[], max_tokens=900)
except openai.RateLimitError as told:
    assert told.code == "insufficient_quota", told.body
    assert time.monotonic() - begun < 5, "it was not tried again and again"
    print("good")
"""

LANGCHAIN = """
from langchain_openai import ChatOpenAI
model = ChatOpenAI(model="tiny", max_tokens=3)
assert model.invoke("one two").content == "alpha beta gamma"
assert "".join(piece.content for piece in model.stream("one two")) == "alpha beta gamma "
print("good")
"""

LITELLM = """
import litellm
asked = dict(model="openai/tiny", messages=[dict(role="user", content="one two")], max_tokens=3)
assert litellm.completion(**asked).choices[0].message.content == "alpha beta gamma"
pieces = list(litellm.completion(stream=True, **asked))
assert "".join(p.choices[0].delta.content or "" for p in pieces) == "alpha beta gamma "
print("good")
"""


def run(python: str | Path, program: str, gateway: Gateway, token: str) -> str:
    """A program as a notebook runs it: with nothing but the two variables."""
    env: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "OPENAI_BASE_URL": f"{gateway.url}/services/models/v1",
        "OPENAI_API_KEY": token,
    }
    done = subprocess.run(
        [python, "-I", "-c", program], env=env, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.skipif(not NOTEBOOK_PYTHON.exists(), reason="there is no environment of users' servers")
@pytest.mark.parametrize("program", [OPENAI, OVER_QUOTA], ids=["calls", "over-quota"])
def test_openais_own_client(world: World, program: str) -> None:
    user = "quota" if program is OVER_QUOTA else "ann"
    token = world.user(user)
    if program is OVER_QUOTA:
        allow_tokens(world.api, 300, user)
    assert run(NOTEBOOK_PYTHON, program, world.gateway, token) == "good"


@pytest.mark.clients
@pytest.mark.skipif(not OTHERS, reason="SUBLET_TEST_CLIENTS names no Python that has them")
@pytest.mark.parametrize("program", [LANGCHAIN, LITELLM], ids=["langchain", "litellm"])
def test_other_clients(world: World, program: str) -> None:
    assert run(OTHERS, program, world.gateway, world.user("ben")) == "good"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl(world: World) -> None:
    token = world.user("cleo")
    asked = json.dumps(body("hi", stream=True, max_tokens=2))
    address = f"{world.gateway.url}/services/models/v1/chat/completions"
    command = ["curl", "-sSN", address, "-H", f"Authorization: Bearer {token}", "-d", asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("data: ") == 4
    assert done.stdout.endswith("data: [DONE]\n\n")
    wait_until(lambda: used(world.api, "cleo") == (1, 1, 2), 20, "it is booked")
