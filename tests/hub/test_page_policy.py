"""The Content-Security-Policy of the hub's pages: strict, and looser only where a page needs it."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from sublet_hub.hub.page_policy import HEADER, RULES, USERS_RULES, rules_of, tornado_settings
from sublet_hub.hub.pages import tornado_settings as settings_of_pages

STATIC = "/hub/static/"


def sent(uri: str, header: str | None = None) -> str:
    """The policy that goes out with the answer to a request of this path and query."""
    settings = tornado_settings(STATIC)
    headers = HTTPHeaders({HEADER: header or settings["headers"][HEADER]})
    (step,) = settings["transforms"]
    line = RequestStartLine("GET", uri, "HTTP/1.1")
    request = HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": "hub.example"}))
    _, headers, _ = step(request).transform_first_chunk(200, headers, b"", finishing=True)
    return str(headers[HEADER])


def first(policy: str) -> dict[str, list[str]]:
    """Directives of the first of the policies."""
    return {name: sources for name, *sources in (rule.split() for rule in policy.partition(",")[0].split(";"))}


@pytest.mark.parametrize("path", ["/hub/home", "/hub/login", "/hub/spawn", "/hub/token", "/hub/none", "/"])
def test_nothing_runs_loads_or_frames_but_the_hubs_own(path: str) -> None:
    rules = first(sent(path))
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == ["'none'"]
    for name in ("script-src", "style-src", "img-src", "connect-src", "form-action"):
        assert rules[name] == ["'self'"], name
    assert "unsafe" not in sent(path)


def test_scripts_come_from_the_hubs_folder_not_from_servers_on_the_same_origin() -> None:
    assert sent("/hub/home").split(",")[1].split() == ["script-src", "*:*/hub/static/"]
    below = settings_of_pages("/jupyter/")["headers"][HEADER]
    assert below.endswith(" script-src *:*/jupyter/hub/static/")
    assert settings_of_pages()["headers"][HEADER].endswith(" script-src *:*/hub/static/")


def test_only_the_page_of_users_may_add_styles_and_no_page_scripts() -> None:
    users = first(sent("/hub/admin"))
    assert users["style-src"] == ["'self'", "'unsafe-inline'"]
    assert users["script-src"] == ["'self'"]
    assert sent("/hub/admin").split(",")[1] == sent("/hub/home").split(",")[1]
    assert rules_of("/jupyter/hub/admin") == USERS_RULES
    assert rules_of("/hub/user/admin") == rules_of("/hub/spawn/admin") == RULES


def test_consent_leads_on_to_the_application_and_nowhere_else() -> None:
    page = "/hub/api/oauth2/authorize?client_id=x&redirect_uri="
    assert first(sent(page + "https%3A%2F%2Fgrafana.example%3A8443%2Fcallback"))["form-action"] == [
        "'self'",
        "https://grafana.example:8443",
    ]
    assert first(sent(page + "/services/sublet/oauth_callback"))["form-action"] == ["'self'"]
    assert first(sent("/hub/login?redirect_uri=https://evil.example/"))["form-action"] == ["'self'"]


@pytest.mark.parametrize(
    "uri",
    [
        "https://a.example;script-src%20*/",
        "https://a.example,script-src%20*/",
        "https://a.example%20*/",
        "https://*/",
        "javascript:alert(1)",
        "https://user@a.example/",
        "http://[::1",
        "",
    ],
)
def test_an_address_that_could_say_more_than_an_origin_says_nothing(uri: str) -> None:
    assert sent(f"/hub/api/oauth2/authorize?redirect_uri={uri}") == sent("/hub/home")


def test_a_policy_of_the_operators_own_stays() -> None:
    assert sent("/hub/admin", "default-src 'self'") == "default-src 'self'"
