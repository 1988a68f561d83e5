"""Signing in by a real OpenID provider: hub, proxy, api and meter are real, and so is the provider."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.fixtures.platform import Session, wait_until
from tests.sign_in.conftest import Browser, Place, accounts

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(400)]

SECONDS = 60.0
"""For what happens within a few seconds: asking again (1 s), the api's belief in tokens (0.5 s)."""


def is_refused(session: Session) -> bool:
    """Whether a token no longer reaches the api, which asks the hub."""
    return session.client.get("/services/sublet/api/leases").status_code in {401, 403}


def test_a_member_signs_in_and_their_groups_are_accounts(place: Place) -> None:
    place.provider.account("ada", groups=["gpu-users", "climate-lab"])
    with place.browser() as browser:
        page = browser.sign_in("ada")
        assert page.url.path == "/hub/home", page.text
        assert accounts(browser.session("ada")) == {"user:ada", "group:gpu-users", "group:climate-lab"}


def test_a_sign_in_is_asked_for_with_pkce_and_state(place: Place) -> None:
    with place.browser() as browser:
        asked = browser.http.get("/hub/oauth_login", follow_redirects=False)
    query = parse_qs(urlsplit(asked.headers["location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["code_challenge"][0]) == 43
    assert query["state"]
    assert {"openid", "profile", "groups", "offline_access"} == set(query["scope"][0].split())


def test_a_callback_without_its_state_is_refused(place: Place) -> None:
    place.provider.account("ada", groups=["gpu-users"])
    with place.browser() as victim, place.browser() as attacker:
        callback = code_of(attacker, "ada", attacker.http.get("/hub/oauth_login", follow_redirects=False))
        assert victim.http.get(callback).status_code == 400
        victim.http.get("/hub/oauth_login", follow_redirects=False)  # has a state of its own by now
        assert victim.http.get(callback).status_code == 400
        assert not victim.is_signed_in


def code_of(browser: Browser, sub: str, asked: httpx.Response) -> str:
    """Sign in at the provider, and give the address of the callback without going there."""
    stop: list[str] = []

    def note(response: httpx.Response) -> None:
        target = response.headers.get("location", "")
        if "/oauth_callback?" in target or "/test/callback?" in target:
            stop.append(target)
            response.headers["location"] = f"{browser.platform.url}/hub/health"

    browser.http.event_hooks["response"] = [note]
    browser.sign_in(sub, asked.headers["location"])
    browser.http.event_hooks["response"] = []
    return stop[0]


def test_a_code_for_another_client_of_the_provider_is_refused(place: Place) -> None:
    """Token substitution: another application's operator shows us a code that our user gave to that one."""
    place.provider.account("ada", groups=["gpu-users"])
    with place.browser() as browser:
        asked = browser.http.get("/hub/oauth_login", follow_redirects=False)
        ours = httpx.URL(asked.headers["location"])
        theirs = ours.copy_merge_params({"client_id": "other", "redirect_uri": f"{place.provider.url}/test/callback"})
        asked.headers["location"] = str(theirs)
        code = parse_qs(urlsplit(code_of(browser, "ada", asked)).query)["code"][0]
        page = browser.http.get("/hub/oauth_callback", params={"code": code, "state": ours.params["state"]})
        assert page.status_code == 403
        assert "did not confirm this sign-in" in page.text
        assert not browser.is_signed_in


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("other client", "not meant for this platform"),
        ("other person", "contradict each other"),
        ("other access token", "not meant for this platform"),
        ("no id token", "did not say who you are"),
    ],
)
def test_a_token_that_is_not_for_us_or_not_of_them_is_refused(place: Place, mode: str, said: str) -> None:
    place.provider.account("mia", groups=["gpu-users"])
    place.provider.misbehave(mode)
    with place.browser() as browser:
        page = browser.sign_in("mia")
        assert page.status_code == 403
        assert said in page.text
        assert not browser.is_signed_in
        place.provider.misbehave("")
        assert browser.sign_in("mia").url.path == "/hub/home"


@pytest.mark.parametrize("groups", [[], ["climate-lab"], ["GPU-USERS"], "gpu-users-too", {"gpu-users": True}, None])
def test_nobody_gets_in_who_is_not_allowed(place: Place, groups: object) -> None:
    place.provider.account("eve", groups=groups)
    with place.browser() as browser:
        page = browser.sign_in("eve")
        assert page.status_code == 403
        assert "not allowed to use this platform" in page.text
        assert not browser.is_signed_in


# ---------------------------------------------------------------- names


def is_admin(session: Session) -> bool:
    """Whether somebody may see everybody's users at the hub, or leases at the api."""
    me = session.client.get("/hub/api/user").raise_for_status().json()
    return bool(me["admin"]) or any(scope.startswith(("admin", "custom:quotas")) for scope in me["scopes"])


def test_a_name_makes_nobody_an_administrator(place: Place) -> None:
    """`admin` is the name whose password is generated where people sign in by passwords."""
    place.provider.account("mallory", preferred_username="admin", groups=["gpu-users"])
    with place.browser() as browser:
        page = browser.sign_in("mallory")
        if page.status_code == 403:
            assert "belongs to somebody else here" in page.text
        else:
            assert not is_admin(browser.session("admin"))


def test_a_group_makes_administrators_and_unmakes_them(place: Place) -> None:
    place.provider.account("root", groups=["gpu-admins"])
    with place.browser() as browser:
        assert browser.sign_in("root").url.path == "/hub/home"
        session = browser.session("root")
        assert is_admin(session)
        assert session.client.get("/hub/api/quotas/default").status_code == 200
        place.provider.account("root", groups=["gpu-users"])
        wait_until(lambda: not is_admin(session), SECONDS, "the administrator is none any more")
        wait_until(
            lambda: session.client.get("/hub/api/quotas/default").status_code == 403, SECONDS, "the api knows it"
        )


def test_another_person_does_not_get_an_account_by_its_name(place: Place) -> None:
    place.provider.account("lea-1", preferred_username="lea", groups=["gpu-users"])
    place.provider.account("lea-2", preferred_username="LEA", groups=["gpu-users"])
    with place.browser() as first, place.browser() as second:
        assert first.sign_in("lea-1").url.path == "/hub/home"
        page = second.sign_in("lea-2")
        assert page.status_code == 403
        assert "The name lea belongs to somebody else here" in page.text
        assert not second.is_signed_in
        assert first.is_signed_in


@pytest.mark.parametrize("name", ["a/b", "a\nb", "\u202eevil", " ada", "x" * 300, "", 7, None, ["ada"]])
def test_a_name_that_cannot_be_used_is_refused_in_words(place: Place, name: object) -> None:
    place.provider.account("odd", preferred_username=name, groups=["gpu-users"])
    with place.browser() as browser:
        page = browser.sign_in("odd")
        assert page.status_code == 403, page.text
        assert not browser.is_signed_in


# ---------------------------------------------------------------- groups


ODD = ["two words", "a:b", "/staff/gpu", "Größe", "a,b", "..", "100%", "x" * 255, "q?a=b&c#d", "<b>", "'; --"]
UNUSABLE = ["", " padded ", "x" * 300, "a\nb", "a\x00b", "zero\u200bwidth", 7, None, {"name": "lab"}, ["lab"]]


def test_odd_group_names_are_accounts_and_unusable_ones_are_left_out(place: Place) -> None:
    place.provider.account("olga", groups=["gpu-users", *ODD, *UNUSABLE])
    with place.browser() as browser:
        assert browser.sign_in("olga").url.path == "/hub/home"
        session = browser.session("olga")
        assert accounts(session) == {"user:olga", "group:gpu-users", *(f"group:{name}" for name in ODD)}
        for name in ODD:
            path = "/hub/api/quotas/groups/" + "".join(f"%{byte:02X}" for byte in name.encode())
            with place.platform.admin() as admin:
                assert admin.get(path).status_code == 200, name
        assert session.start_server(flavor="cpu", account="group:/staff/gpu").status_code in {201, 202}
        wait_until(lambda: (session.server() or {}).get("ready"), SECONDS, "the server is ready")
        assert place.platform.leases(user="olga")[0]["account"] == "group:/staff/gpu"
        session.stop_server()
        wait_until(lambda: session.server() is None, SECONDS, "the server has stopped")


def test_a_group_lost_at_the_provider_can_no_longer_pay(place: Place) -> None:
    place.provider.account("bea", groups=["gpu-users", "rich-lab"])
    with place.browser() as browser:
        browser.sign_in("bea")
        session = browser.session("bea")
        assert "group:rich-lab" in accounts(session)
        place.provider.account("bea", groups=["gpu-users"])
        answer = session.start_server(flavor="cpu", account="group:rich-lab")
        assert answer.status_code in {400, 403}, "asked again before each start"
        wait_until(lambda: accounts(session) == {"user:bea", "group:gpu-users"}, SECONDS, "the account is gone")
        place.provider.account("bea", groups=["gpu-users", "new-lab"])
        browser.sign_in("bea")
        wanted = {"user:bea", "group:gpu-users", "group:new-lab"}
        wait_until(lambda: accounts(session) == wanted, SECONDS, "the new group is an account")


# ---------------------------------------------------------------- who is no longer let in


def leave_group(place: Place, sub: str) -> None:
    place.provider.account(sub, groups=["climate-lab"])


def leave_provider(place: Place, sub: str) -> None:
    place.provider.remove(sub)


def lose_session(place: Place, sub: str) -> None:
    place.provider.end_sessions(sub)


@pytest.mark.parametrize("leave", [leave_group, leave_provider, lose_session])
def test_a_revoked_users_browser_tokens_and_server_lose_access(
    place: Place, leave: Callable[[Place, str], None]
) -> None:
    user = f"rex-{leave.__name__.replace('_', '-')}"
    place.provider.account(user, groups=["gpu-users"])
    with place.browser() as browser:
        browser.sign_in(user)
        session = browser.session(user)
        assert session.start_server(flavor="cpu").status_code in {201, 202}
        wait_until(lambda: (session.server() or {}).get("ready"), SECONDS, "the server is ready")
        assert not is_refused(session)
        leave(place, user)
        wait_until(lambda: is_refused(session), SECONDS, "the token is refused")
        assert session.start_server("second", flavor="cpu").status_code == 403
        assert not browser.is_signed_in
        if leave is not lose_session:
            assert browser.sign_in(user).url.path != "/hub/home"
            assert is_refused(session), "a failed sign-in changes nothing"
    (lease,) = place.platform.leases(user=user)
    assert lease["state"] == "active", "work that runs is not ended by it"
    with place.platform.admin() as admin:
        stop = {"immediately": True, "why": "signed out by the provider"}
        assert admin.post(f"/services/sublet/api/leases/{lease['id']}/stop", json=stop).status_code == 200
    wait_until(lambda: place.platform.leases(user=user)[0]["state"] == "ended", SECONDS, "the lease has ended")


def test_whoever_is_let_in_again_goes_on_with_their_tokens(place: Place) -> None:
    place.provider.account("tim", groups=["gpu-users"])
    with place.browser() as browser:
        browser.sign_in("tim")
        session = browser.session("tim")
        leave_group(place, "tim")
        wait_until(lambda: is_refused(session), SECONDS, "the token is refused")
        place.provider.account("tim", groups=["gpu-users"])
        assert browser.sign_in("tim").url.path == "/hub/home"
        wait_until(lambda: not is_refused(session), SECONDS, "the token works again")


def test_an_access_token_that_expires_is_renewed_once_however_many_ask(place: Place) -> None:
    """The provider gives a new refresh token each time, and ends the sign-in where an old one is shown again."""
    place.provider.account("ned", groups=["gpu-users"])
    with place.browser() as browser:
        browser.sign_in("ned")
        session = browser.session("ned")
        place.provider.seen()
        renewals = 0

        def renewed_twice() -> bool:
            nonlocal renewals
            answers = many_at_once(session, 5)
            assert set(answers) == {200}
            renewals += place.provider.seen().count(["token", "refresh_token"])
            return renewals >= 2

        wait_until(renewed_twice, SECONDS, "the access token has been renewed twice")
        assert not is_refused(session)


def many_at_once(session: Session, count: int) -> list[int]:
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(session.client.get, "/hub/api/user") for _ in range(count)]
        return [each.result().status_code for each in asked]


# ---------------------------------------------------------------- a provider that is away


def hub_log(place: Place) -> str:
    return (place.platform.data / "logs" / "hub.log").read_text()


def test_a_provider_that_is_away_is_believed_for_a_while(place: Place) -> None:
    place.provider.account("gil", groups=["gpu-users"])
    with place.browser() as browser:
        browser.sign_in("gil")
        session = browser.session("gil")
        place.provider.misbehave("away")

        def was_asked_in_vain() -> bool:
            assert not is_refused(session)
            return "gil could not be checked" in hub_log(place)

        wait_until(was_asked_in_vain, SECONDS, "the provider is asked, in vain")
        page = browser.http.get("/hub/oauth_login", follow_redirects=False)
        assert page.status_code == 302, "new sign-ins are for the provider to take"


def test_without_grace_it_is_not_believed_and_back_again_when_it_is_back(start_place: Callable[..., Place]) -> None:
    place = start_place(grace=0)
    place.provider.account("gil", groups=["gpu-users"])
    with place.browser() as browser:
        browser.sign_in("gil")
        session = browser.session("gil")
        place.provider.misbehave("away")
        wait_until(lambda: is_refused(session), SECONDS, "the token is refused")
        assert "still believed: False" in hub_log(place)
        place.provider.misbehave("")
        wait_until(lambda: not is_refused(session), SECONDS, "the token works again, without a new sign-in")
