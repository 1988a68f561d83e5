"""Whether a sign-in still holds: the provider is asked again, and what it says then counts.

JupyterHub 6.1 and OAuthenticator 17.4, left to themselves, ask the provider again after `auth_refresh_age`, but

- don't check again who is allowed;
- let tokens go on working for a user whom the provider no longer vouches for, unless `auth_refresh_strict` is set;
- take a token endpoint that is away for one that has refused, and answer 500 where the userinfo endpoint is away;
- show one refresh token twice when two requests come at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus
from typing import Any

from oauthenticator.oauth2 import OAuthenticator
from prometheus_client import Counter
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError
from traitlets import Integer

AuthState = dict[str, Any]
AuthModel = dict[str, Any]

CHECKS = Counter(
    "sublet_sign_in_checks",
    "Times that the provider was asked whether a user is still who they are: confirmed, refused, believed (it did not"
    " answer, and what it said last was recent), expired (the same, and too long ago).",
    ["outcome"],
)


class Refused(Exception):
    """The provider, or who is allowed here, says no to a user. The message is for the log."""


class Unanswered(Exception):
    """The provider could not be asked, or gave no answer that says yes or no."""


class AskedAgain(OAuthenticator):
    """What `CheckedSignIn` is built on. It reads of a user's state `subject`, `checked_at` and `good_until`."""

    grace_seconds = Integer(
        3600, min=0, help="Seconds that the provider's last yes is believed while it can't be asked."
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._checks: dict[str, asyncio.Future[AuthModel | bool]] = {}

    async def refresh_user(self, user: Any, handler: Any = None, **_: Any) -> AuthModel | bool:
        """Ask the provider again; False where the user must sign in anew. One question at a time for each user: a
        refresh token that is shown twice is taken for a stolen one."""
        check = self._checks.get(user.name)
        if check is None:
            check = self._checks[user.name] = asyncio.ensure_future(self._check(user, handler))
            check.add_done_callback(lambda _done: self._checks.pop(user.name, None))
        answer = await asyncio.shield(check)
        return dict(answer) if isinstance(answer, dict) else answer

    async def _check(self, user: Any, handler: Any) -> AuthModel | bool:
        state = await user.get_auth_state()
        if not state or "token_response" not in state:
            return False  # never signed in, or refused before
        try:
            model = await self._ask(user, state, handler)
        except Refused as why:
            self.log.warning("%s is no longer signed in: %s", user.name, why)
            CHECKS.labels("refused").inc()
            # Without tokens nobody asks again at each request, and whose the name is stays known.
            await user.save_auth_state({"subject": state.get("subject")})
            return False
        except Unanswered as why:
            believed: bool = time.time() - state.get("checked_at", 0) <= self.grace_seconds
            CHECKS.labels("believed" if believed else "expired").inc()
            self.log.warning("%s could not be checked (%s); still believed: %s", user.name, why, believed)
            return believed
        CHECKS.labels("confirmed").inc()
        await user.save_auth_state(model["auth_state"])
        return model

    async def _ask(self, user: Any, state: AuthState, handler: Any) -> AuthModel:
        try:
            model = await self._model(user, state, handler)
            admitted = await self._admits(model)
        except HTTPClientError as error:
            raise Refused(str(error)) if _says_no(error) else Unanswered(str(error)) from error
        except HTTPError as error:
            raise (Refused if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else Unanswered)(
                str(error)
            ) from error
        except (OSError, ValueError) as error:  # no connection, or no JSON
            raise Unanswered(repr(error)) from error
        if model["name"] != user.name or model["auth_state"]["subject"] != state.get("subject"):
            raise Refused("at the provider this is somebody else now")
        if not admitted:
            raise Refused("nothing allows them any more")
        return model

    async def _model(self, user: Any, state: AuthState, handler: Any) -> AuthModel:
        """What the provider says of a user now, with the tokens we have or, failing that, with renewed ones."""
        tokens = state["token_response"]
        try:
            return dict(await self._token_to_auth_model(tokens))
        except HTTPClientError as error:
            if not _says_no(error):
                raise
        expires = state.get("good_until")
        expired = expires is not None and time.time() >= expires
        if not state.get("refresh_token"):
            if expired:
                raise Unanswered("the access token has expired, and there is none to renew it with")
            raise Refused("the provider no longer takes the access token")
        try:
            renewed = await self._renew(state["refresh_token"], handler)
        except Unanswered:
            if expires is not None and not expired:
                raise Refused("the provider no longer takes the access token, which should be good") from None
            raise
        renewed = {"refresh_token": state["refresh_token"], "subject": tokens.get("subject")} | renewed
        # Kept at once: the old ones may be of no use from now on, whatever comes next.
        await user.save_auth_state(state | {"token_response": renewed, "refresh_token": renewed["refresh_token"]})
        return dict(await self._token_to_auth_model(renewed))

    async def _renew(self, refresh_token: str, handler: Any) -> dict[str, Any]:
        try:
            return dict(await self.get_token_info(handler, self.build_refresh_token_request_params(refresh_token)))
        except HTTPClientError as error:
            if _error_code(error) == "invalid_grant":
                raise Refused("the provider no longer renews the sign-in") from error
            raise Unanswered(str(error)) from error  # such as our secret being wrong: says nothing of the user

    async def _admits(self, model: AuthModel) -> bool:
        """The checks of a sign-in, which JupyterHub leaves out when it refreshes."""
        name = model["name"]
        if not self.validate_username(name) or not self.check_blocked_users(name, model):
            return False
        return bool(self.allow_all or await self.check_allowed(name, model))


def _says_no(error: HTTPClientError) -> bool:
    """Whether a provider's answer is about the user, and not about how often we ask or its own troubles."""
    if error.code == HTTPStatus.FORBIDDEN and error.response is not None:
        headers = error.response.headers
        return "Retry-After" not in headers and headers.get("X-RateLimit-Remaining") != "0"
    return error.code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def _error_code(error: HTTPClientError) -> str:
    """The `error` of a token endpoint's answer (RFC 6749, 5.2); empty where there is none."""
    try:
        body = json.loads(error.response.body) if error.response is not None else {}
    except ValueError:
        return ""
    return str(body.get("error", "")) if isinstance(body, dict) else ""
