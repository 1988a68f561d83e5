"""Whether a sign-in still holds: what a provider's answers mean, and whose a name stays."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.web import HTTPError
from traitlets.config import Config

from sublet_hub.hub import authenticators
from tests.hub.test_sign_in import OIDC, configured, made

Answer = tuple[str, int, object]
"""End of the address that is asked, status, body."""


class Scripted(authenticators.OpenIDAuthenticator):
    """Takes a provider's answers from a list."""

    answers: list[Answer]

    async def httpfetch(self, url: str, *_: Any, **__: Any) -> Any:
        path, code, body = self.answers.pop(0)
        assert url.endswith(path)
        if code == 200:
            return body
        content = BytesIO(json.dumps(body).encode())
        raise HTTPClientError(code, response=HTTPResponse(HTTPRequest(url), code, buffer=content))


class User:
    """What is asked of a hub's user."""

    name = "ada"
    admin = False

    def __init__(self, state: Mapping[str, object] | None) -> None:
        self.state = state

    async def get_auth_state(self) -> Mapping[str, object] | None:
        return self.state

    async def save_auth_state(self, state: Mapping[str, object] | None) -> None:
        self.state = state


ME = {"sub": "ada", "groups": ["lab"]}
SUBJECT = "https://login.example.org ada"


def state(
    *, expires_in: float | None = 60.0, refresh: str | None = "r1", checked_ago: float = 10.0
) -> dict[str, object]:
    tokens = {"access_token": "a1", "token_type": "Bearer", "refresh_token": refresh, "subject": "ada"}
    return {
        "token_response": tokens,
        "refresh_token": refresh,
        "subject": SUBJECT,
        "checked_at": time.time() - checked_ago,
        "good_until": None if expires_in is None else time.time() + expires_in,
    }


OUTCOMES = {"confirmed", "refused", "believed", "expired"}


def counted(outcome: str) -> float:
    """How often the hub's metric says that this came of asking."""
    return REGISTRY.get_sample_value("sublet_sign_in_checks_total", {"outcome": outcome}) or 0


NEW = {"access_token": "a2", "token_type": "Bearer", "refresh_token": "r2", "expires_in": 60}
NO: Answer = ("/userinfo", 401, {"error": "invalid_token"})
AWAY: Answer = ("/userinfo", 503, {})


@pytest.mark.parametrize(
    ("kept_then", "answers", "outcome"),
    [
        (state, [("/userinfo", 200, ME)], "confirmed"),
        (state, [NO, ("/token", 200, NEW), ("/userinfo", 200, ME)], "confirmed"),
        (state, [("/userinfo", 200, ME | {"groups": ["other"]})], "refused"),
        (state, [("/userinfo", 200, ME | {"sub": "eve"})], "refused"),
        (state, [NO, ("/token", 400, {"error": "invalid_grant"})], "refused"),
        (state, [NO, ("/token", 503, {})], "refused"),  # the token had time left, so the no was meant
        (lambda: state(refresh=None), [NO], "refused"),
        (lambda: state(refresh=None, expires_in=None), [NO], "refused"),
        (state, [AWAY], "believed"),
        (state, [("/userinfo", 429, {})], "believed"),
        (state, [("/userinfo", 599, {})], "believed"),
        (lambda: state(expires_in=-1), [NO, ("/token", 503, {})], "believed"),
        (lambda: state(expires_in=-1), [NO, ("/token", 401, {"error": "invalid_client"})], "believed"),  # our fault
        (lambda: state(expires_in=-1, refresh=None), [NO], "believed"),
        (lambda: state(checked_ago=7200), [AWAY], "expired"),
        (lambda: None, [], "never signed in"),
        (lambda: {"subject": SUBJECT}, [], "refused before"),
    ],
)  # fmt: skip
async def test_what_a_providers_answers_mean(
    tmp_path: Path, kept_then: Callable[[], dict[str, object] | None], answers: list[Answer], outcome: str
) -> None:
    allowed = 'groups_claim = "groups"\nallowed_groups = ["lab"]'
    kept = kept_then()  # now: a row's times count from when it is its turn
    ours = Scripted(config=configured_for(tmp_path, OIDC.replace("allow_all = true", allowed)))
    ours.answers = list(answers)
    user = User(kept)
    before = counted(outcome)
    answer = await ours.refresh_user(user)
    assert counted(outcome) == before + (outcome in OUTCOMES)
    assert bool(answer) == (outcome in {"confirmed", "believed"})
    assert ours.answers == [], "all was asked"
    if outcome == "confirmed":
        assert isinstance(answer, dict)
        assert answer["groups"] == ["lab"]
        assert user.state == answer["auth_state"]
    elif outcome == "refused":
        assert user.state == {"subject": SUBJECT}, "no tokens are left"
    else:
        assert user.state == kept, "the provider can be asked again later"


def configured_for(folder: Path, table: str) -> Config:
    """As for OpenIDAuthenticator, for the class that takes its place here."""
    c = configured(folder, table)
    c.Scripted.update(c.OpenIDAuthenticator)
    return c


async def test_a_new_refresh_token_is_kept_whatever_comes_next(tmp_path: Path) -> None:
    ours = Scripted(config=configured_for(tmp_path, OIDC))
    ours.answers = [NO, ("/token", 200, NEW), AWAY]
    user = User(state())
    assert await ours.refresh_user(user), "the provider is away now, and was not long ago"
    assert user.state is not None
    assert user.state["refresh_token"] == "r2"


async def test_a_refresh_token_that_is_given_once_is_kept_over_sign_ins(tmp_path: Path) -> None:
    ours = made(tmp_path, OIDC)
    new: dict[str, Any] = {"subject": SUBJECT, "token_response": {"access_token": "a2"}}
    await ours._keep_to_its_owner(User(state()), {"admin": False, "auth_state": new})
    assert new["refresh_token"] == new["token_response"]["refresh_token"] == "r1"


async def test_an_administrators_name_of_before_is_nobodys(tmp_path: Path) -> None:
    ours = made(tmp_path, OIDC)
    user = User(None)
    user.admin = True
    model = {"admin": False, "auth_state": {"subject": SUBJECT, "token_response": {}}}
    with pytest.raises(HTTPError, match="belongs to somebody else"):
        await ours._keep_to_its_owner(user, model)
    await ours._keep_to_its_owner(user, model | {"admin": True})


async def test_however_many_ask_at_once_the_provider_is_asked_once(tmp_path: Path) -> None:
    ours = Scripted(config=configured_for(tmp_path, OIDC))
    ours.answers = [("/userinfo", 200, ME)]
    user = User(state())
    answers = await asyncio.gather(*(ours.refresh_user(user) for _ in range(5)))
    assert all(isinstance(answer, dict) for answer in answers)
    assert len({id(answer) for answer in answers}) == 5, "the hub writes into what it is given"
