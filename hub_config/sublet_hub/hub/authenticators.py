"""The four ways of signing in by OAuth: OAuthenticator's classes with our checks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from oauthenticator.cilogon import CILogonOAuthenticator
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.github import GitHubOAuthenticator
from oauthenticator.google import GoogleOAuthenticator
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError

from sublet_hub.hub import claims
from sublet_hub.hub.asked_again import AuthState
from sublet_hub.hub.checked_sign_in import CheckedSignIn


class OpenIDAuthenticator(CheckedSignIn, GenericOAuthenticator):
    """Any OpenID Connect provider."""

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        if not user_info.get(self.username_claim):
            self.log.warning("The provider gave no claim %s, which names are taken from", self.username_claim)
            raise HTTPError(HTTPStatus.FORBIDDEN, "Your provider does not tell your name.")
        if self.username_claim == "email" and user_info.get("email_verified") is not True:
            raise HTTPError(HTTPStatus.FORBIDDEN, "Your provider has not verified your e-mail address.")
        return super().user_info_to_username(user_info)


class GitHubAuthenticator(CheckedSignIn, GitHubOAuthenticator):
    """GitHub. It has no ID tokens; its authorization codes are good for our client alone. Teams are groups, as
    `organization:team`."""

    def claimed_groups(self, auth_state: AuthState) -> list[object]:
        teams = auth_state.get("teams", ())
        return [f"{claims.find(team, 'organization.login')}:{team.get('slug')}" for team in teams]

    async def httpfetch(self, url: str, *args: Any, **kwargs: Any) -> Any:
        """Raises also where OAuthenticator would take GitHub's own troubles for "is not a member"."""
        found = await super().httpfetch(url, *args, **kwargs)
        code = getattr(found, "code", HTTPStatus.OK)
        if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise HTTPClientError(code, response=found)
        return found


class GoogleAuthenticator(CheckedSignIn, GoogleOAuthenticator):
    """Google accounts."""


class CILogonAuthenticator(CheckedSignIn, CILogonOAuthenticator):
    """CILogon: the sign-ins of universities and other institutions."""
