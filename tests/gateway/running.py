"""A real gateway process before a real upstream, with the real api (on the memory store) to ask."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sublet_hub.api.hub_client import Identity
from sublet_hub.domain import accounts
from sublet_hub.domain.models import Licence, Model, ModelCatalogue, Serving, Upstream
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.storage import quotas
from tests.fixtures.api_platform import ACCESS, ApiPlatform, FixedHub
from tests.fixtures.platform import ROOT
from tests.fixtures.site import wait_until

GATEWAY_TOKEN = "gateway-token-of-the-tests"
SERVE = "custom:models:serve"
OPEN = Licence("open", "Open License", "1", "https://example.org/open")
GATED = Licence("gated", "Gated License", "7", "https://example.org/gated", gated=True)
PRICES = (200_000, 800_000)
"""Micro-units per million tokens, in and out."""
CONTEXT, OUTPUT_MAX = 4096, 1024
RARE_PER_MINUTE = 2
CHAT = "/services/models/v1/chat/completions"


class Hub(FixedHub):
    """The hub of the api's tests, which knows the gateway too."""

    async def identify(self, token: str) -> Identity | None:
        if token == GATEWAY_TOKEN:
            return Identity("sublet-gateway", "service", frozenset({SERVE}), None)
        if token == "alice-server-token":
            return Identity("alice", "user", ACCESS | {"access:servers!server=alice/"}, ("lab",))
        return await super().identify(token)


def catalogue(*urls: str, concurrency: int = 16, gone: Sequence[str] = ()) -> ModelCatalogue:
    """`tiny` and `gated`, served by all of these servers; `gone` by servers that are not there, and with it `half` by
    both, and `rare`, which has a rate of its own."""

    def model(name: str, licence: Licence, servers: Sequence[str], per_minute: int | None = None) -> Model:
        upstreams = tuple(Upstream(url, "there") for url in servers)
        serving = Serving(upstreams, CONTEXT, OUTPUT_MAX, *PRICES, concurrency, per_minute)
        return Model(name, name.title(), "Test", "Chat", "", licence, "transformers", serving=serving)

    models = [model("tiny", OPEN, urls), model("gated", GATED, urls)]
    if gone:
        models += [model("gone", OPEN, gone), model("half", OPEN, (*gone, *urls))]
        models += [model("rare", OPEN, urls, RARE_PER_MINUTE)]
    return ModelCatalogue({each.name: each for each in models}, {each.name: each for each in (OPEN, GATED)})


def as_toml(models: ModelCatalogue) -> str:
    """The catalogue as the file that the gateway reads."""
    lines: list[str] = []
    for licence in models.licences.values():
        lines += ["[[licences]]", *(f"{name} = {json.dumps(getattr(licence, name))}" for name in _LICENCE_FIELDS)]
    for model in models.models.values():
        assert model.serving is not None
        lines += ["[[models]]", f"licence = {json.dumps(model.licence.name)}"]
        lines += [
            f"{name} = {json.dumps(getattr(model, name))}" for name in ("name", "title", "family", "task", "loader")
        ]
        lines += ["[models.serving]", *(f"{name} = {getattr(model.serving, name)}" for name in _SERVING_FIELDS)]
        if model.serving.calls_per_minute is not None:
            lines += [f"calls_per_minute = {model.serving.calls_per_minute}"]
        for each in model.serving.upstreams:
            what = f'start = "{each.start}"' if each.url is None else f'url = "{each.url}"'
            lines += ["[[models.serving.upstreams]]", what, f'model = "{each.model}"']
    return "\n".join(lines) + "\n"


_LICENCE_FIELDS = ("name", "title", "version", "url", "gated")
_MODEL_FIELDS = ("name", "title", "family", "task", "loader")
_SERVING_FIELDS = (
    *("context_tokens", "output_tokens_max", "concurrency"),
    *("input_microunits_per_million_tokens", "output_microunits_per_million_tokens"),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Gateway:
    """One gateway process. `data` may be another's: then they are replicas, or one is the other's next life."""

    data: Path
    api_url: str
    port: int = field(default_factory=free_port)
    settings: Mapping[str, str] = field(default_factory=dict)
    debug: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.data / "gateway.log"

    def start(self) -> Gateway:
        command = [sys.executable, "-m", "sublet_hub.cli", "gateway", *(["--debug"] if self.debug else [])]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment(), stdout=log, stderr=log)
        started = self.process

        def answers() -> bool:
            assert started.poll() is None, f"the gateway ended:\n{self.log()}"
            try:
                return httpx.get(f"{self.url}/services/models/health", trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(answers, 60, "the gateway answers")
        return self

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def client(self, token: str = "alice-token") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def chat(self, prompt: str = "hello there", token: str = "alice-token", **more: Any) -> httpx.Response:
        """One call of `tiny`; streamed ones are read to their end."""
        with self.client(token) as client:
            return client.post(CHAT, json=body(prompt, **more))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all label sets that have these."""
        text = httpx.get(f"{self.url}/services/models/metrics", trust_env=False).text
        found = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(line.rpartition(" ")[2]) for line in found if all(each in line for each in wanted))

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SUBLET_")}
        own = {
            "SUBLET_DATA": str(self.data),
            "SUBLET_MODELS_FILE": str(self.data / "models.toml"),
            "SUBLET_API_ADDRESS": self.api_url,
            "SUBLET_GATEWAY_PORT": str(self.port),
        }
        return kept | own | dict(self.settings)


def body(prompt: str, model: str = "tiny", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def prepare(data: Path, models: ModelCatalogue) -> None:
    """What a gateway needs to find: its token and the catalogue."""
    from sublet_hub.credentials import Secrets

    data.mkdir(parents=True, exist_ok=True)
    secrets = json.loads(Secrets.generate().to_text()) | {"gateway_token": GATEWAY_TOKEN}
    (data / "secrets.json").write_text(json.dumps(secrets))
    (data / "models.toml").write_text(as_toml(models))


@contextmanager
def stopped_after(*gateways: Gateway) -> Iterator[None]:
    try:
        yield
    finally:
        for gateway in gateways:
            if gateway.process is not None and gateway.process.poll() is None:
                gateway.process.kill()
                gateway.process.wait(30)


def allow_tokens(api: ApiPlatform, tokens: int | None, user: str = "alice", money: int | None = None) -> None:
    """Give the user's account so many model tokens a day, and so much money; None: no such limit."""
    limits = [] if tokens is None else [Limit(What.TOKENS, tokens, "day")]
    limits += [] if money is None else [Limit(What.MONEY, money, "day")]
    quotas.set_quota(api.books, accounts.user(user), Quota(tuple(limits)), actor="test", why="test")


def used(api: ApiPlatform, user: str = "alice", model: str = "tiny") -> tuple[int, int, int]:
    """Calls, input and output tokens that the ledger has of a user and a model."""
    answer = httpx.get(
        f"{api.url}/services/sublet/api/model-use",
        params={"account": f"user:{user}"},
        headers={"Authorization": f"Bearer {user}-token"},
        trust_env=False,
    )
    days = [day for day in answer.raise_for_status().json()["days"] if day["model"] == model]
    return (
        sum(day["calls"] for day in days),
        sum(day["input_tokens"] for day in days),
        sum(day["output_tokens"] for day in days),
    )


def held(api: ApiPlatform, user: str = "alice") -> int:
    """Tokens that allowances hold on the user's account now."""
    with api.books.store.transaction(write=False) as tx:
        return sum(each.held.tokens for each in tx.open_allowances(accounts.user(user)))


def until_used(api: ApiPlatform, wanted: tuple[int, int, int], user: str = "alice", model: str = "tiny") -> None:
    """Wait for the ledger to have exactly this."""
    deadline = time.monotonic() + 30
    while (found := used(api, user, model)) != wanted:
        assert time.monotonic() < deadline, f"the ledger has {found}, not {wanted}"
        time.sleep(0.1)


def events(text: str) -> list[dict[str, Any]]:
    """The JSON of a stream's events; the last line must end it."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def said(text: str) -> str:
    """What a stream's events say together."""
    return "".join(
        choice["delta"].get("content", "") for event in events(text) for choice in event.get("choices", ())
    )
