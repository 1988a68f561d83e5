"""Leases of models' servers as the gateway asks the real api for them, and what a machine does with leases that
nobody owns any more."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sublet_hub.api.hub_client import Identity
from sublet_hub.catalog import check_model_leases, read_models
from sublet_hub.cluster import processes, records
from sublet_hub.cluster.local import LocalCluster
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.errors import Unavailable
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import EndReason, Lease
from sublet_hub.domain.model_leases import Holder
from sublet_hub.domain.models import Licence, Model, Serving, Upstream
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.gateway.errors import ModelAway, NoRoomForModel
from sublet_hub.gateway.lease_api import Granted, HttpLeases, LeaseRefused
from sublet_hub.gateway.this_machine import ThisMachine
from sublet_hub.settings import Settings, SettingsError, load_settings
from sublet_hub.storage import metering, quotas
from tests.fixtures.api_platform import ApiPlatform, FixedHub, api_platform
from tests.fixtures.factories import catalog
from tests.gateway.running import free_port

HOLDER = Holder("alice", accounts.group("lab"))
TOKEN = "gateway-of-the-tests"
UPSTREAM = Upstream(None, "tiny", None, "transformers", "gpu-1x")
TINY = Model(
    "tiny", "Tiny", "Toy", "Chat", "", Licence("o", "O", "1", "https://example.org/"), "transformers",
    serving=Serving((UPSTREAM,), 512, 128),
)  # fmt: skip


class Hub(FixedHub):
    async def identify(self, token: str) -> Identity | None:
        if token == TOKEN:
            return Identity("sublet-gateway", "service", frozenset({"custom:models:lease"}), None)
        return await super().identify(token)


@pytest.fixture(scope="module")
def api() -> Iterator[ApiPlatform]:
    with api_platform(Hub(), model_holder=HOLDER) as made:
        quotas.set_quota(made.books, DEFAULT, Quota(()), actor="test", why="test")
        yield made


@pytest.fixture
async def leases(api: ApiPlatform) -> AsyncIterator[HttpLeases]:
    client = HttpLeases(api.url, TOKEN, HOLDER)
    yield client
    for lease_id in (await client.held()).values():
        await client.give_back(lease_id, "the test is over", shutdown=True)
        metering.void(api.books, lease_id)
    await client.close()


def lease(api: ApiPlatform, lease_id: str) -> Lease:
    with api.books.store.transaction(write=False) as tx:
        found = tx.lease(lease_id)
    assert found is not None
    return found


async def test_one_is_asked_for_listed_and_given_back(api: ApiPlatform, leases: HttpLeases) -> None:
    granted = await leases.ask("gpu-1x", Tier.SURPLUS, "tiny-1")
    assert granted.devices == ("SIM-0",)
    assert granted.deadline_ms > records.wall_ms() + 60_000
    assert (await leases.ask("gpu-1x", Tier.SURPLUS, "tiny-1")) == granted, "an answer that was lost"
    found = lease(api, granted.id)
    assert (found.user, found.account, found.kind, found.tier) == (
        *("alice", accounts.group("lab"), "worker"),
        Tier.SURPLUS,
    )
    assert await leases.held() == {"tiny-1": granted.id}
    metering.start(api.books, granted.id, records.wall_ms())
    await leases.give_back(granted.id, "No call.", shutdown=False)
    ordered = lease(api, granted.id).ordered
    assert ordered is not None
    assert ordered.reason is EndReason.IDLE
    assert await leases.held() == {}, "it is ending"
    metering.end(api.books, granted.id, records.wall_ms() - 1, records.wall_ms(), EndReason.IDLE)
    await leases.give_back(granted.id, "No call.", shutdown=False)


async def test_leases_of_others_are_not_the_gateways(api: ApiPlatform, leases: HttpLeases) -> None:
    """The holder's own notebook, on the same account."""
    notebook = api.lease("alice", accounts.group("lab"), server_name="model:mine")
    assert await leases.held() == {}
    with pytest.raises(LeaseRefused) as refused:
        await leases.give_back(notebook.id, "", shutdown=True)
    assert refused.value.type_name == "not-found"
    api.end(notebook, 1_000)


async def test_refusals_say_which_and_until_when(api: ApiPlatform, leases: HttpLeases) -> None:
    for number in range(len(api.books.catalog.pools["gpu"].devices)):
        await leases.ask("gpu-1x", Tier.SURPLUS, f"many-{number}")
    with pytest.raises(LeaseRefused) as refused:
        await leases.ask("gpu-1x", Tier.SURPLUS, "one-more")
    assert (refused.value.type_name, refused.value.retry_at_ms) == ("no-capacity", None)
    lab = accounts.group("lab")
    quotas.set_quota(api.books, lab, Quota((Limit(What.GPU_SECONDS, 0, "day"),)), actor="test", why="test")
    try:
        with pytest.raises(LeaseRefused) as refused:
            await leases.ask("gpu-1x", Tier.SURPLUS, "another")
    finally:
        quotas.set_quota(api.books, lab, Quota(()), actor="test", why="test")
    assert refused.value.type_name == "quota-exceeded"
    assert refused.value.retry_at_ms is not None
    assert refused.value.retry_at_ms > records.wall_ms()


async def test_an_api_that_is_away_is_said_to_be() -> None:
    client = HttpLeases(f"http://127.0.0.1:{free_port()}", TOKEN, HOLDER)
    with pytest.raises(Unavailable):
        await client.ask("gpu-1x", Tier.SURPLUS, "tiny-1")
    await client.close()


# ---------------------------------------------------------------- this machine


@dataclass
class FakeLeases:
    """The api as a machine asks it."""

    settings: Settings
    refusal: Exception | None = None
    lasts_ms: int = 3_600_000
    there: dict[str, str] = field(default_factory=dict)
    given_back: list[tuple[str, bool]] = field(default_factory=list)
    folder_was_there: bool = False

    async def ask(self, flavor: str, tier: Tier, name: str) -> Granted:
        self.folder_was_there = (self.settings.gateway_dir / "local" / name / "owner").exists()
        if self.refusal is not None:
            raise self.refusal
        self.there[name] = "a" * 32
        return Granted("a" * 32, records.wall_ms() + self.lasts_ms, ("SIM-1",))

    async def held(self) -> Mapping[str, str]:
        return dict(self.there)

    async def give_back(self, lease_id: str, why: str, *, shutdown: bool) -> None:
        assert why
        self.given_back.append((lease_id, shutdown))


@pytest.fixture
def machine_settings(tmp_path: Path) -> Settings:
    return load_settings({"SUBLET_DATA": str(tmp_path)})


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        (LeaseRefused("no-capacity", "All of pool a is leased.", None), NoRoomForModel, "all GPUs .* are leased"),
        (LeaseRefused("quota-exceeded", "Used up.", 5_000), NoRoomForModel, "has used up its quota"),
        (LeaseRefused("meter-away", "Metering is not running.", None), NoRoomForModel, "metering is not running"),
        (Unavailable("away"), NoRoomForModel, "does not answer"),
        (LeaseRefused("not-allowed", "It needs a scope.", None), ModelAway, "the log says why"),
    ],
    ids=lambda value: getattr(value, "type_name", ""),
)
async def test_a_refusal_is_told_in_words_for_callers(
    machine_settings: Settings, refusal: Exception, error: type[ModelAway], words: str
) -> None:
    leases = FakeLeases(machine_settings, refusal)
    with pytest.raises(error, match=words) as told:
        await ThisMachine(machine_settings, leases).start(TINY, UPSTREAM, 1_000)
    assert type(told.value) is error
    assert told.value.retry_at_ms == getattr(refusal, "retry_at_ms", None)
    assert leases.folder_was_there, "so that no other gateway takes the lease for nobody's"
    assert list((machine_settings.gateway_dir / "local").iterdir()) == []


async def test_a_lease_that_would_be_over_soon_is_given_back(machine_settings: Settings) -> None:
    leases = FakeLeases(machine_settings, lasts_ms=5_000)
    with pytest.raises(NoRoomForModel, match="too little time"):
        await ThisMachine(machine_settings, leases).start(TINY, UPSTREAM, 60_000)
    assert leases.given_back == [("a" * 32, False)]


async def test_a_lease_whose_server_can_not_be_started_is_given_back(
    machine_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalCluster, "prepare", full)
    leases = FakeLeases(machine_settings)
    with pytest.raises(ModelAway, match="could not be started"):
        await ThisMachine(machine_settings, leases).start(TINY, UPSTREAM, 1_000)
    assert leases.given_back == [("a" * 32, False)]


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """Another gateway, as far as the system tells."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


async def test_leases_without_a_living_gateway_are_ended_and_no_others(
    machine_settings: Settings, neighbour: subprocess.Popen[bytes]
) -> None:
    machine = ThisMachine(machine_settings, None)
    mine, theirs, older = (machine._make_folder(TINY).name for _ in range(3))
    pid = neighbour.pid
    owner = {"pid": pid, "ticks": processes.start_ticks(pid), "boot": processes.boot_id()}
    folder = machine_settings.gateway_dir / "local"
    (folder / theirs / "owner").write_text(json.dumps(owner))
    (folder / older / "owner").write_text(json.dumps({**owner, "pid": os.getpid()}))  # its pid is ours now
    ids = {mine: "1", theirs: "2", older: "3", "never-made": "4", "../local": "5"}
    leases = FakeLeases(machine_settings, there=ids)
    await ThisMachine(machine_settings, leases).tidy()
    assert sorted(leases.given_back) == [("3", True), ("4", True), ("5", True)]
    assert {each.name for each in folder.iterdir()} == {mine, theirs}
    neighbour.kill()
    neighbour.wait(30)
    leases.given_back.clear()
    await ThisMachine(machine_settings, leases).tidy()
    assert ("2", True) in leases.given_back
    assert ("1", True) not in leases.given_back
    assert [each.name for each in folder.iterdir()] == [mine]


# ---------------------------------------------------------------- what models.toml may ask for

MODELS = """
[[licences]]
name = "open"
title = "Open"
version = "1"
url = "https://example.org/"

[[models]]
name = "tiny"
title = "Tiny"
family = "Toy"
task = "Chat"
licence = "open"
loader = "transformers"
files = [{ path = "a.safetensors", size = 1, sha256 = "%s" }]

[models.serving]
context_tokens = 512
output_tokens_max = 128
upstreams = [{ %s }]
"""


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ('url = "http://a/v1", flavor = "gpu-1x"', "flavor goes with start only"),
        ('start = "transformers", tier = "surplus"', "tier goes with flavor only"),
        ('start = "transformers", flavor = "gpu-1x", tier = "cheap"', "'guaranteed' or 'surplus'"),
        ('start = "vllm"', "vllm needs a flavor"),
        ('start = "transformers", flavor = "gpu-1x", arguments = ["--x"]', "arguments go with"),
    ],
)
def test_a_wrong_upstream_is_named(tmp_path: Path, upstream: str, words: str) -> None:
    (tmp_path / "models.toml").write_text(MODELS % ("0" * 64, upstream))
    with pytest.raises(SettingsError, match=words):
        read_models(tmp_path / "models.toml")


PODS = {"SUBLET_CLUSTER": "kubernetes", "SUBLET_KUBE_MODELS_CLAIM": "models", "SUBLET_MODEL_ACCOUNT": "user:ann"}


@pytest.mark.parametrize(
    ("upstream", "env", "words"),
    [
        ('start = "transformers"', {}, None),
        ('start = "transformers", flavor = "gpu-1x"', {"SUBLET_MODEL_ACCOUNT": "user:ann"}, None),
        ('start = "transformers", flavor = "gpu-1x"', {}, "needs the setting model_account"),
        ('start = "transformers", flavor = "h100"', {"SUBLET_MODEL_ACCOUNT": "user:ann"}, "no flavor 'h100'"),
        ('start = "transformers", flavor = "cpu"', {"SUBLET_MODEL_ACCOUNT": "user:ann"}, "not offered as surplus"),
        ('start = "vllm", flavor = "gpu-1x"', {"SUBLET_MODEL_ACCOUNT": "user:ann"}, "in pods only"),
        ('start = "vllm", flavor = "gpu-1x"', PODS, None),
        (
            'start = "vllm", flavor = "gpu-1x"',
            {**PODS, "SUBLET_MODEL_ACCOUNT": "none"},
            "needs the setting",
        ),
        ('start = "vllm", flavor = "gpu-1x"', {**PODS, "SUBLET_KUBE_MODELS_CLAIM": "none"}, "files in the store"),
    ],
)
def test_a_flavor_has_to_be_there_and_somebody_to_pay(
    tmp_path: Path, upstream: str, env: Mapping[str, str], words: str | None
) -> None:
    (tmp_path / "models.toml").write_text(MODELS % ("0" * 64, upstream))
    settings = load_settings({"SUBLET_DATA": str(tmp_path), **env})
    models = read_models(tmp_path / "models.toml")
    if words is None:
        check_model_leases(models, settings, catalog())
        return
    with pytest.raises(SettingsError, match=words):
        check_model_leases(models, settings, catalog())
