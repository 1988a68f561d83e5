"""The whole platform, as `make run` starts it, with the models that it begins with: a notebook's own key calls them,
streamed and not, through the hub's proxy and directly, and the quota and the statement show the tokens. The models'
servers are leases of the owner's account."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.platform import ROOT, Platform
from tests.fixtures.site import Session, wait_until
from tests.gateway.leased import (
    FASTTEXT,
    IDLE_SECONDS,
    classify,
    lease_of,
    leases,
    limit,
    moment,
    prepare,
    process_of,
    processes,
    seen_end,
    stop,
)
from tests.gateway.leased import TINY as LEASED_LLAMA
from tests.gateway.running import events, said

MADE = ROOT / ".setup" / "models" / "sublet-tiny-llama" / "model.safetensors"
NOTEBOOK_PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
CHAT = "/services/models/v1/chat/completions"
TINY = "sublet-tiny-llama"
FIRST_CALL_SECONDS = 180
"""The model's server starts then."""

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if not (MADE.exists() and NOTEBOOK_PYTHON.exists()):
        pytest.skip("there are no models to begin with; `make setup` makes them")
    folder = tmp_path_factory.mktemp("platform")
    folder.chmod(0o711)
    running = prepare(folder).start()
    limit(running, gpus=3, leases=4)
    try:
        yield running
    finally:
        running.stop()


def environment_of_server(platform: Platform, session: Session) -> Mapping[str, str]:
    """What the user's running server was told, from /proc."""
    started = platform.leases(user=session.user)[0]["id"]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            pairs = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found = dict(pair.decode(errors="replace").split("=", 1) for pair in pairs if b"=" in pair)
        if found.get("SUBLET_LEASE_ID") == started and "OPENAI_API_KEY" in found:
            return found
    raise AssertionError("the server was not found")


def tokens(platform: Platform, user: str) -> dict[str, Any]:
    """What the account's statement says of models, whole."""
    with platform.admin() as client:
        found: dict[str, Any] = (
            client.get("/services/sublet/api/model-use", params={"account": f"user:{user}"}).raise_for_status().json()
        )
        return found


def test_a_notebooks_own_key_calls_the_models_that_a_platform_begins_with(platform: Platform) -> None:
    alice = platform.sign_in("alice")
    with platform.admin() as admin:
        limits = {"limits": [{"what": "model_tokens", "limit": 100_000, "window": "day", "flavor": None}]}
        limits["limits"] += [{"what": "leases", "limit": 3, "window": None, "flavor": None}]
        admin.put("/hub/api/quotas/users/alice", json={**limits, "time_zone": "UTC"}).raise_for_status()
    assert alice.start_server().status_code in {201, 202}
    wait_until(lambda: (alice.server() or {}).get("ready"), 90, "the server is ready")
    told = environment_of_server(platform, alice)
    assert told["OPENAI_BASE_URL"] == f"http://127.0.0.1:{platform.port + 84}/services/models/v1"
    assert told["OPENAI_API_KEY"] == told["JUPYTERHUB_API_TOKEN"]

    # As a notebook does it: OpenAI's client with nothing configured, in the users' environment.
    program = (
        "import openai; c = openai.OpenAI(timeout=300);"
        f"m = dict(model={TINY!r}, messages=[dict(role='user', content='Hello!')], max_tokens=8);"
        "print(c.chat.completions.create(**m).usage.completion_tokens);"
        "print(sum(len(x.choices) for x in c.chat.completions.create(stream=True, **m)));"
        f"r = dict(model={TINY!r}, input='Hello!', max_output_tokens=8);"
        "whole = c.responses.create(**r); assert whole.output_text and whole.model == r['model'], whole;"
        "print(whole.usage.output_tokens);"
        "end = [x for x in c.responses.create(stream=True, **r)][-1]; assert end.type == 'response.completed', end;"
        "print(end.response.usage.output_tokens);"
        f"t = dict(model={TINY!r}, prompt='Once upon', max_tokens=8);"
        "print(c.completions.create(**t).usage.completion_tokens);"
        "print(sum(len(x.choices) for x in c.completions.create(stream=True, **t)))"
    )
    variables = {name: told[name] for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")}
    done = subprocess.run(
        [NOTEBOOK_PYTHON, "-I", "-c", program],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr + platform.log()
    completed, pieces, responded, streamed_tokens, continued, more_pieces = map(int, done.stdout.split())
    assert all(1 <= tokens <= 8 for tokens in (completed, responded, streamed_tokens, continued)), done.stdout
    assert min(pieces, more_pieces) >= 1

    # Through the proxy, with the same key.
    key = {"Authorization": f"Bearer {told['OPENAI_API_KEY']}"}
    body = {"model": TINY, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8, "stream": True}
    streamed = httpx.post(f"{platform.url}{CHAT}", json=body, headers=key, timeout=FIRST_CALL_SECONDS)
    assert streamed.status_code == 200
    assert said(streamed.text)
    assert {event["model"] for event in events(streamed.text)} == {TINY}
    text = {"model": "fasttext-lid-176", "input": "Wo ist hier der Bahnhof, bitte?"}
    found = httpx.post(
        f"{platform.url}/services/models/v1/classify", json=text, headers=key, timeout=FIRST_CALL_SECONDS
    )
    assert found.status_code == 200, found.text
    assert found.json()["data"][0]["label"] == "de"

    # The server of this model makes text only, and says so.
    vectors = {"model": TINY, "input": "Hello!"}
    refused = httpx.post(f"{platform.url}/services/models/v1/embeddings", json=vectors, headers=key, timeout=60)
    assert (refused.status_code, refused.json()["detail"]) == (404, "The model's server has no embeddings.")

    wait_until(lambda: tokens(platform, "alice")["calls"] == 8, 30, "all eight calls are booked")
    used = tokens(platform, "alice")
    assert {day["model"] for day in used["days"]} == {TINY, "fasttext-lid-176"}
    with platform.admin() as admin:
        quota = admin.get("/hub/api/quotas/users/alice").raise_for_status().json()
    (of_tokens,) = [limit for limit in quota["limits"] if limit["what"] == "model_tokens"]
    assert of_tokens["used"] == used["input_tokens"] + used["output_tokens"]

    # The key ends with the server.
    assert alice.stop_server().status_code in {202, 204}
    wait_until(
        lambda: httpx.post(f"{platform.url}{CHAT}", json=body, headers=key, timeout=60).status_code == 401,
        60,
        "the key is no good any more",
    )


def test_who_is_over_quota_is_told_through_the_proxy_too(platform: Platform) -> None:
    bob = platform.sign_in("bob")
    with platform.admin() as admin:
        limits = {"limits": [{"what": "model_tokens", "limit": 50, "window": "day", "flavor": None}]}
        admin.put("/hub/api/quotas/users/bob", json={**limits, "time_zone": "UTC"}).raise_for_status()
    body = {"model": TINY, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 100}
    answer = bob.client.post(CHAT, json=body)
    assert answer.status_code == 429, answer.text
    assert answer.json()["error"]["type"] == "insufficient_quota"
    assert answer.headers["ratelimit-policy"] == '"model_tokens-day";q=50;w=86400'
    listed = bob.client.get("/services/models/v1/models").raise_for_status().json()
    assert {TINY, "fasttext-lid-176"} <= {each["id"] for each in listed["data"]}


# ---------------------------------------------------------------- models' servers as leases


def test_a_models_server_is_a_lease_of_the_owner_on_gpus_of_its_own(platform: Platform) -> None:
    ann = platform.sign_in("ann")
    assert classify(ann.client).status_code == 200
    lease, process = lease_of(platform, FASTTEXT), process_of(platform, FASTTEXT)
    assert (lease["kind"], lease["user"], lease["account"], lease["tier"]) == (
        *("worker", "admin", "user:admin"),
        "surplus",
    )
    assert lease["gpus_milli"] == 1000
    assert abs(moment(lease["started_at"]) - process.create_time()) < 1
    mine = process.environ()["CUDA_VISIBLE_DEVICES"]
    assert mine.startswith("SIM-")
    theirs = [each.environ()["CUDA_VISIBLE_DEVICES"] for each in processes(platform) if each.pid != process.pid]
    assert mine not in theirs
    assert 0 not in process.uids(), "never as root"


def test_one_that_is_to_end_takes_no_new_calls_and_finishes_those_that_run(platform: Platform) -> None:
    """An admin's stop with notice, as the owner's taking back would be."""
    ben = platform.sign_in("ben")
    body = {
        "model": LEASED_LLAMA,
        "messages": [{"role": "user", "content": "Hello!"}],
        "max_tokens": 500,
        "stream": True,
    }
    assert ben.client.post(CHAT, json={**body, "max_tokens": 2}, timeout=FIRST_CALL_SECONDS).status_code == 200
    first, process = lease_of(platform, LEASED_LLAMA), process_of(platform, LEASED_LLAMA)
    with ben.client.stream("POST", CHAT, json=body, timeout=FIRST_CALL_SECONDS) as running:
        assert running.status_code == 200
        pieces = running.iter_text()
        text = next(pieces)
        assert stop(platform, first["id"])["deadline_reason"] == "admin"
        answered = classify(ben.client)
        assert answered.status_code == 200, "other models' servers are not concerned"
        text += "".join(pieces)
    assert text.endswith("data: [DONE]\n\n"), text[-300:]
    last, gone = seen_end(process, 60)
    (ended,) = [each for each in _until_over(platform, LEASED_LLAMA) if each["id"] == first["id"]]
    assert ended["end_reason"] == "admin"
    assert last - 1 < moment(ended["ended_at"]) < gone + 1, "metered by its true end"
    again = ben.client.post(CHAT, json={**body, "max_tokens": 2}, timeout=FIRST_CALL_SECONDS)
    assert again.status_code == 200, again.text
    assert lease_of(platform, LEASED_LLAMA)["id"] != first["id"]


def test_where_there_is_no_room_for_another_the_call_says_so(platform: Platform) -> None:
    cleo = platform.sign_in("cleo")
    assert classify(cleo.client).status_code == 200
    lease = lease_of(platform, FASTTEXT)
    try:
        limit(platform, leases=0)
        stop(platform, lease["id"], immediately=True)
        wait_until(lambda: not leases(platform, FASTTEXT, "active", "ending"), 60, "it has ended")
        refused = classify(cleo.client)
    finally:
        limit(platform, gpus=3, leases=4)
    assert refused.status_code == 503, refused.text
    said = refused.json()
    assert said["type"].endswith("/model-no-capacity")
    assert said["error"]["code"] == "model-no-capacity"
    assert "used up its quota" in said["error"]["message"]
    assert moment(said["retry_at"]) > moment(lease["started_at"])
    assert int(refused.headers["retry-after"]) <= 60
    wait_until(lambda: classify(cleo.client).status_code == 200, 90, "it is tried again, and there is one")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_gateway_that_ends_leaves_no_lease_to_nobody(platform: Platform, number: signal.Signals) -> None:
    dora = platform.sign_in("dora")
    assert classify(dora.client).status_code == 200
    lease, process = lease_of(platform, FASTTEXT), process_of(platform, FASTTEXT)
    gateway = platform.part("gateway")
    assert gateway is not None
    gateway.send_signal(number)
    last, gone = seen_end(process, 30)
    (ended,) = [each for each in _until_over(platform, FASTTEXT) if each["id"] == lease["id"]]
    by_itself = {"exited"} if number == signal.SIGKILL else set()
    assert ended["end_reason"] in {"shutdown", *by_itself}, "where it was killed the next one may be quicker"
    assert last - 1 < moment(ended["ended_at"]) < gone + 1
    wait_until(lambda: classify(dora.client).status_code == 200, 120, "the next gateway has another")


def test_one_that_nobody_calls_is_given_back(platform: Platform) -> None:
    emil = platform.sign_in("emil")
    assert classify(emil.client).status_code == 200
    lease, process = lease_of(platform, FASTTEXT), process_of(platform, FASTTEXT)
    last, gone = seen_end(process, IDLE_SECONDS + 60)
    (ended,) = [each for each in _until_over(platform, FASTTEXT) if each["id"] == lease["id"]]
    assert ended["end_reason"] == "idle"
    assert last - 1 < moment(ended["ended_at"]) < gone + 1
    with platform.admin() as admin:
        notices = admin.get("/services/sublet/api/notices", params={"lease": lease["id"]}).raise_for_status().json()
    assert notices == [], "whoever gives it back needs no warning"
    wait_until(lambda: processes(platform) == [], IDLE_SECONDS + 60, "scaled to zero")
    assert list((platform.data / "gateway" / "local").glob("leased-*")) == []


def _until_over(platform: Platform, model: str) -> list[dict[str, Any]]:
    wait_until(lambda: not leases(platform, model, "ending"), 60, f"no lease of {model} is ending")
    return leases(platform, model, "ended")
