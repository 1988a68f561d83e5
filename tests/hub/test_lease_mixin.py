"""A server's start asks for a lease, its stop says so, and nothing of either depends on where it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import format_exception

from sublet_hub.hub.progress import LeaseProgress
from tests.hub.conftest import LeasedSpawner, make_spawner
from tests.hub.fake_api import FakeApi, problem, used_up


async def refusal_of(spawner: Any) -> SpawnException:
    with pytest.raises(SpawnException) as refused:
        await spawner.start()
    assert not spawner.started
    return refused.value


async def test_a_start_asks_for_what_was_chosen_by_name(api: FakeApi) -> None:
    spawner = make_spawner(LeasedSpawner, api.url, groups=("lab", "vision"), name="train")
    spawner.user_options = {"flavor": "sim-1x", "tier": "surplus", "account": "group:lab"}
    assert await spawner.start() == ("127.0.0.1", 1234)
    (call,) = api.asked("POST", "/leases")
    assert call.body == {
        "user": "alice",
        "groups": ["lab", "vision"],
        "account": "group:lab",
        "flavor": "sim-1x",
        "tier": "surplus",
        "kind": "notebook",
        "server_name": "train",
    }
    assert call.headers["idempotency-key"]


async def test_a_server_is_told_its_lease_and_the_api_and_none_of_our_tokens(api: FakeApi, spawner: Any) -> None:
    await spawner.start()
    env = spawner.env_at_start
    assert env["SUBLET_LEASE_ID"] in api.leases
    assert env["SUBLET_API_URL"] == f"{api.url}/services/sublet/api"
    assert spawner.sublet_api_token not in env.values()


async def test_a_start_through_the_hubs_api_needs_no_options(api: FakeApi, spawner: Any) -> None:
    await spawner.start()
    (call,) = api.asked("POST", "/leases")
    assert (call.body["flavor"], call.body["account"]) == ("cpu", "user:alice")


@pytest.mark.parametrize(
    "options",
    [
        {"flavor": "sim-1x", "gpus": 8},
        {"flavor": 5},
        {"flavor": ["sim-1x"]},
        {"flavor": "h100"},
        {"account": "group:other"},
        {"account": "user:bob"},
        {"tier": "platinum"},
    ],
)
async def test_options_that_were_not_offered_are_refused_before_the_api_is_asked(
    api: FakeApi, spawner: Any, options: dict[str, Any]
) -> None:
    spawner.user_options = options
    refused = await refusal_of(spawner)
    assert refused.status_code == 400
    assert refused.reason == "choice"
    assert not api.asked("POST", "/leases")


async def test_a_form_is_refused_where_the_user_can_mend_it(spawner: Any) -> None:
    assert spawner.run_options_from_form({"offer": ["cpu/guaranteed"], "account": ["user:alice"]}) == {
        "flavor": "cpu",
        "tier": "guaranteed",
        "account": "user:alice",
    }
    with pytest.raises(SpawnException, match="no option 'gpus'"):
        spawner.run_options_from_form({"gpus": ["8"]})


async def test_a_refusal_says_which_limit_until_when_and_whom_to_ask(api: FakeApi, spawner: Any) -> None:
    api.refusal = used_up()
    refused = await refusal_of(spawner)
    assert refused.reason == "quota-exceeded"
    text, html = format_exception(refused, only_jupyterhub=True)
    assert text == (
        "Your limit of 10 GPU-hours per week is used up. More is left from Mon 30 Nov, 00:00 UTC."
        " To get more, ask ops@example.org."
    )
    assert '<time datetime="2026-11-30T00:00:00Z" data-local>' in html
    assert "</time>. To get more, ask ops@example.org." in " ".join(html.split())
    assert '<a href="/hub/spawn/alice">Choose another flavor</a>' in html
    assert refused.message_html == html
    assert not spawner.lease_id


async def test_a_refusal_that_no_quota_brought_about_is_told_as_it_is(api: FakeApi, spawner: Any) -> None:
    api.refusal = problem("no-capacity", "All GPUs of the pool <sim> are leased.", 409)
    refused = await refusal_of(spawner)
    assert refused.message == "All GPUs of the pool <sim> are leased."
    assert "&lt;sim&gt;" in refused.message_html
    assert "ops@example.org" not in refused.message_html


async def test_an_answer_that_got_lost_is_asked_for_again_with_the_same_key(api: FakeApi, spawner: Any) -> None:
    api.cut_off = {"/flavors", "/leases"}
    await spawner.start()
    first, second = api.asked("POST", "/leases")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(api.leases) == 1


async def test_two_starts_have_two_keys(api: FakeApi) -> None:
    for name in ("one", "two"):
        await make_spawner(LeasedSpawner, api.url, name=name).start()
    first, second = api.asked("POST", "/leases")
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


async def test_without_the_api_no_server_is_started() -> None:
    refused = await refusal_of(make_spawner(LeasedSpawner, "http://127.0.0.1:9"))
    assert (refused.status_code, refused.reason) == (503, "unavailable")
    assert "does not answer at the moment" in refused.message
    assert "127.0.0.1:9" not in refused.message


async def test_a_fault_of_the_api_is_not_told_to_the_user(api: FakeApi, spawner: Any) -> None:
    api.broken = True
    refused = await refusal_of(spawner)
    assert refused.status_code == 503
    assert "fire" not in refused.message
    assert "fire" in refused.log_message


@pytest.mark.parametrize("failure", [RuntimeError("no disk"), asyncio.CancelledError()])
async def test_a_start_that_fails_gives_its_lease_back(api: FakeApi, spawner: Any, failure: BaseException) -> None:
    spawner.failure = failure
    with pytest.raises(type(failure)):
        await spawner.start()
    (lease_id,) = api.leases
    (call,) = api.asked("POST", f"/{lease_id}/stop")
    assert call.body == {"reason": "user", "why": f"the server could not be started: {type(failure).__name__}"}


async def test_a_stop_says_that_the_user_ended_the_lease(api: FakeApi, spawner: Any) -> None:
    await spawner.start()
    await spawner.stop()
    assert spawner.stopped
    assert [lease["end_reason"] for lease in api.leases.values()] == ["user"]


async def test_a_lease_that_has_ended_already_keeps_its_reason(api: FakeApi, spawner: Any) -> None:
    await spawner.start()
    api.leases[spawner.lease_id] |= {"state": "ended", "end_reason": "quota"}
    await spawner.stop()
    assert spawner.stopped
    assert api.leases[spawner.lease_id]["end_reason"] == "quota"


async def test_a_server_is_stopped_though_the_api_be_away(api: FakeApi, spawner: Any) -> None:
    await spawner.start()
    api.broken = True
    await spawner.stop()
    assert spawner.stopped


async def test_a_restarted_hub_still_knows_the_lease(api: FakeApi, spawner: Any) -> None:
    await spawner.start()
    again = make_spawner(LeasedSpawner, api.url)
    again.load_state(spawner.get_state())
    assert again.lease_id == spawner.lease_id
    await again.stop()
    assert api.asked("POST", f"/{spawner.lease_id}/stop")
    again.clear_state()
    assert again.lease_id == ""
    assert "lease_id" not in again.get_state()


async def test_progress_tells_of_the_lease_and_then_what_the_spawner_tells(spawner: Any) -> None:
    spawner.user_options = {"flavor": "sim-1x", "tier": "guaranteed"}
    seen: list[dict[str, Any]] = []

    async def watch() -> None:
        async for event in spawner.progress():
            seen.append(event)  # noqa: PERF401 — as they come

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await spawner.start()
    await asyncio.wait_for(watching, 5)
    told = [event["message"] for event in seen]
    assert told[:3] == [
        "Asking for 1 × Simulated GPU",
        "Holding 10\u00a0min of quota on your own account",
        "Starting 1 × Simulated GPU",
    ]
    assert told[3].startswith("Runs until ")
    assert told[4:] == ["Spawning server..."]
    percents = [event["progress"] for event in seen]
    assert percents == sorted(percents)


async def test_progress_ends_where_the_lease_is_refused(api: FakeApi, spawner: Any) -> None:
    api.refusal = used_up()
    await refusal_of(spawner)
    told = [event["message"] async for event in spawner.progress()]
    assert told[0] == "Asking for CPU only"


async def test_whoever_looks_late_sees_all_events() -> None:
    progress = LeaseProgress()
    progress.add(10, "one")
    progress.add(20, "two", html="<b>two</b>")
    progress.close()
    assert [event async for event in progress.follow()] == [
        {"progress": 10, "message": "one"},
        {"progress": 20, "message": "two", "html_message": "<b>two</b>"},
    ]


async def test_the_home_page_shows_the_lease_of_a_server(api: FakeApi, spawner: Any) -> None:
    assert await spawner.lease_shown() is None
    spawner.user_options = {"flavor": "sim-1x", "tier": "guaranteed"}
    await spawner.start()
    shown = await spawner.lease_shown()
    assert (shown.flavor, shown.price, shown.account) == (
        "1 × Simulated GPU",
        "2.00\u00a0USD per hour",
        "Your own account",
    )
    assert shown.simulated
    api.broken = True
    assert await spawner.lease_shown() is None


async def test_a_limit_of_nothing_promises_no_more_later(api: FakeApi, spawner: Any) -> None:
    api.refusal = used_up(limit=0)
    text = format_exception(await refusal_of(spawner), only_jupyterhub=True)[0]
    assert text == "Your quota allows no GPU time. To get more, ask ops@example.org."


async def test_the_home_page_asks_for_all_leases_at_once(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    spawners = {name: make_spawner(LeasedSpawner, api.url, name=name) for name in ("", "train", "idle")}
    for name in ("", "train"):
        await spawners[name].start()
        monkeypatch.setattr(type(spawners[name]), "active", property(lambda self: self.name != "idle"))
    asked, everybody = [], asyncio.Event()
    lease_shown = LeasedSpawner.lease_shown

    async def together(spawner: Any) -> Any:
        asked.append(spawner.name)
        if len(asked) == 2:
            everybody.set()
        await asyncio.wait_for(everybody.wait(), 20)  # one after the other, the first would wait in vain
        return await lease_shown(spawner)

    monkeypatch.setattr(LeasedSpawner, "lease_shown", together)
    spawners[""].user.spawners = spawners
    shown = await spawners[""].leases_shown()
    assert {name: lease is not None for name, lease in shown.items()} == {"": True, "train": True}


async def test_pages_tell_why_the_last_server_of_that_name_was_ended(api: FakeApi, spawner: Any) -> None:
    api.add_lease("alice", state="ended", end_reason="idle", ended_at="2026-11-23T05:00:00.000Z")
    api.add_lease("alice", server_name="other", state="ended", end_reason="user", ended_at="2026-11-23T06:00:00.000Z")
    assert "Nothing had run in it for a while." in await spawner.last_end_html("")
    assert await spawner.last_end_html("other") == ""
    assert await spawner.last_end_html("third") == ""
    api.broken = True
    assert await spawner.last_end_html("") == ""
