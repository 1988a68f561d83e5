"""What the gateway adds to a call, against the model's server called directly, and against LiteLLM's proxy in its
place.

All three are asked by the same callers, in turns. The model's server has no model (`tests.bench.model_server`), so
that what is before it shows. LiteLLM is its newest of when this was written, installed into a folder of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.quota import Quota
from sublet_hub.storage import quotas
from tests.bench.figures import Limit, Result, median, ms
from tests.fixtures.api_platform import api_platform
from tests.fixtures.platform import ROOT, wait_until
from tests.gateway.running import CHAT, Gateway, Hub, catalogue, free_port, prepare, stopped_after

LITELLM = "litellm[proxy]==1.106.2"
LITELLM_FOLDER = ROOT / ".setup" / "litellm"
LITELLM_KEY = "sk-bench"
STREAMS = 64
CALLERS = 16
FIRST_TOKEN_MS = 3.0
TOKENS_RATIO = 0.97
TIMES_BETTER = 5.0
MARGIN_SECONDS = 120
DIRECT, OURS, THEIRS = "the model's server itself", "Sublet's gateway", "LiteLLM's proxy"


@dataclass(frozen=True)
class Target:
    """Where to call, by what name and with which key."""

    url: str
    model: str
    key: str


@dataclass
class Side:
    """What was measured of one target, a value for each turn."""

    first_token: list[float] = field(default_factory=list)
    tokens_per_second: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    """Seconds of a whole answer, of one caller who is alone."""
    per_second: list[float] = field(default_factory=list)


def run(*, quick: bool) -> Result:
    turns, seconds = (2, 2.0) if quick else (5, 10.0)
    with _targets() as targets:
        sides = {name: Side() for name in targets}
        for turn in range(turns):
            for name in list(targets)[:: 1 if turn % 2 else -1]:
                # What is held against LiteLLM is single calls; it is not asked for 64 streams.
                if name != THEIRS:
                    _measure_streams(targets[name], sides[name], seconds)
                _measure(targets[name], sides[name], seconds)
    return _result(sides, turns, seconds)


def _measure_streams(target: Target, side: Side, seconds: float) -> None:
    streams = _call(target, callers=STREAMS, stream=True, seconds=max(seconds, 4.0))
    side.first_token.append(median(streams.waits))
    side.tokens_per_second.append(streams.tokens / streams.seconds)


def _measure(target: Target, side: Side, seconds: float) -> None:
    side.alone.append(median(_call(target, callers=1, stream=False, seconds=seconds / 2).waits))
    many = _call(target, callers=CALLERS, stream=False, seconds=seconds / 2)
    side.per_second.append(many.answers / many.seconds)


@dataclass(frozen=True)
class Counted:
    answers: int
    tokens: int
    seconds: float
    waits: list[float]


def _call(target: Target, *, callers: int, stream: bool, seconds: float) -> Counted:
    told = {
        "url": target.url, "model": target.model, "key": target.key,
        "callers": callers, "stream": stream, "seconds": seconds, "apart_seconds": 0.03 if stream else 0,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.model_callers"],
        cwd=ROOT,
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=seconds + MARGIN_SECONDS,
        check=True,
    )
    said = json.loads(done.stdout)
    assert not said["wrong"], f"{target.url} answered {said['wrong']}"
    assert said["waits"], f"{target.url} gave no answer"
    return Counted(said["answers"], said["tokens"], said["seconds"], said["waits"])


def _result(sides: Mapping[str, Side], turns: int, seconds: float) -> Result:
    direct, ours, theirs = sides[DIRECT], sides[OURS], sides.get(THEIRS)
    added = median(ours.alone) - median(direct.alone)
    limits = [
        Limit(
            f"first token later, in ms, {STREAMS} streams",
            1000 * (median(ours.first_token) - median(direct.first_token)),
            FIRST_TOKEN_MS,
        ),
        Limit(
            f"ratio of tokens per second, {STREAMS} streams",
            median(ours.tokens_per_second) / median(direct.tokens_per_second),
            TOKENS_RATIO,
            at_least=True,
        ),
    ]
    if theirs is not None:
        their_added = median(theirs.alone) - median(direct.alone)
        limits += [
            Limit("LiteLLM's added latency, in ours", their_added / added, TIMES_BETTER, at_least=True),
            Limit(
                "requests per second, in LiteLLM's",
                median(ours.per_second) / median(theirs.per_second),
                TIMES_BETTER,
                at_least=True,
            ),
        ]
    rows = [
        (
            name,
            ms(median(side.first_token), 1) if side.first_token else "",
            f"{median(side.tokens_per_second):,.0f}" if side.tokens_per_second else "",
            ms(median(side.alone), 2),
            f"{median(side.per_second):,.0f}",
        )
        for name, side in sides.items()
    ]
    return Result(
        title="Calls of a model through the gateway",
        limits=tuple(limits),
        columns=(
            "called", f"first token in ms, {STREAMS} streams", "tokens per second", "one whole answer in ms",
            f"answers per second, {CALLERS} callers",
        ),
        rows=tuple(rows),
        samples=f"{turns} turns of {seconds:g} s each; medians of the turns' medians",
        notes=(
            "Streams have a token every 20 ms, whole answers come at once. Each of the two has one process, and",
            "checks a key; ours also holds each call on a quota, and journals and posts what it used.",
            *(() if theirs is not None else ("LiteLLM could not be installed, so that it is left out.",)),
        ),
    )  # fmt: skip


@contextmanager
def _targets() -> Iterator[dict[str, Target]]:
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as name, _model_server() as url:
        models = catalogue(url, concurrency=1_000)
        hub = Hub()
        with api_platform(hub, models) as api:
            quotas.set_quota(api.books, DEFAULT, Quota(()), actor="bench", why="bench")
            prepare(Path(name), models)
            # One caller makes all calls, and as fast as can be.
            gateway = Gateway(Path(name), api.url, settings={"SUBLET_MODEL_CALLS_PER_MINUTE": "1000000"})
            with stopped_after(gateway), _litellm(url, Path(name)) as litellm:
                gateway.start()
                targets = {
                    DIRECT: Target(f"{url}/chat/completions", "there", "none"),
                    OURS: Target(gateway.url + CHAT, "tiny", "alice-token"),
                }
                if litellm is not None:
                    targets[THEIRS] = litellm
                for target in targets.values():
                    _warm_up(target)
                yield targets


def _warm_up(target: Target) -> None:
    """A first call takes longer: much is imported, connections are made."""
    body = {"model": target.model, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"Authorization": f"Bearer {target.key}"}
    httpx.post(target.url, json=body, headers=headers, timeout=120, trust_env=False).raise_for_status()


@contextmanager
def _model_server() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.model_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        finally:
            server.kill()


@contextmanager
def _litellm(upstream: str, folder: Path) -> Iterator[Target | None]:
    """LiteLLM's proxy, set up as its documentation says; None where it can't be installed."""
    if not _installed():
        yield None
        return
    config = folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: tiny\n    litellm_params:\n      model: openai/there\n"
        f"      api_base: {upstream}\n      api_key: none\n"
        f"general_settings:\n  master_key: {LITELLM_KEY}\n"
        "litellm_settings:\n  telemetry: false\n",
        encoding="utf-8",
    )
    port = free_port()
    command = [str(LITELLM_FOLDER / "bin" / "litellm"), "--config", str(config), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1"]
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    log = (folder / "litellm.log").open("wb")
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (folder / "litellm.log").read_text()[-4000:]
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/liveliness", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, 400, "LiteLLM's proxy answers")
        yield Target(f"http://127.0.0.1:{port}/v1/chat/completions", "tiny", LITELLM_KEY)
    finally:
        process.kill()
        process.wait(30)
        log.close()


def _installed() -> bool:
    """Install LiteLLM where it is not there yet; False where that can't be done."""
    if (LITELLM_FOLDER / "bin" / "litellm").exists():
        return True
    uv, python = str(ROOT / ".setup" / "bin" / "uv"), str(LITELLM_FOLDER / "bin" / "python")
    make = [uv, "venv", "--quiet", "--python", sys.executable, str(LITELLM_FOLDER)]
    install = [uv, "pip", "install", "--quiet", "--python", python, LITELLM]
    try:
        return all(subprocess.run(command, check=False, timeout=600).returncode == 0 for command in (make, install))
    except (OSError, subprocess.TimeoutExpired):
        return False
