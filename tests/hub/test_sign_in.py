"""The table `[sign_in]`: what is read, what is refused, and what each provider's authenticator is told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tornado.web import HTTPError
from traitlets.config import Config

from sublet_hub.hub import authenticators, claims, id_token
from sublet_hub.hub.sign_in import SignIn, configure_sign_in, load_sign_in
from sublet_hub.settings import SettingsError, load_settings
from tests.docs.pages import blocks, first_cells, page, section

CALLBACK = 'callback_url = "https://gpus.example.org/hub/oauth_callback"'
COMMON = f'client_id = "sublet"\n{CALLBACK}\nallow_all = true\n'
OIDC = f"""
provider = "oidc"
issuer = "https://login.example.org"
authorize_url = "https://login.example.org/authorize"
token_url = "https://login.example.org/token"
userdata_url = "https://login.example.org/userinfo"
jwks_url = "https://login.example.org/keys"
{COMMON}"""
GITHUB = f'provider = "github"\n{COMMON}'
GOOGLE = f'provider = "google"\n{COMMON}'
CILOGON = f'provider = "cilogon"\nallowed_idps = ["https://idp.example.edu/shibboleth"]\n{COMMON}'
ENV = {"OAUTH_CLIENT_SECRET": "hush", "JUPYTERHUB_CRYPT_KEY": "ab" * 32}


def parse(folder: Path, table: str, env: Mapping[str, str] = ENV, **settings: str) -> SignIn:
    (folder / "sublet.toml").write_text(f"[sign_in]\n{table}", encoding="utf-8")
    return load_sign_in(load_settings({"SUBLET_DATA": str(folder), **settings}), env)


def configured(folder: Path, table: str) -> Config:
    c = Config()
    c.JupyterHub.cookie_secret = b"0" * 32
    configure_sign_in(c, parse(folder, table))
    return c


def made(folder: Path, table: str) -> Any:
    """The authenticator as the hub would make it."""
    c = configured(folder, table)
    name = c.JupyterHub.authenticator_class.removeprefix("sublet_hub.hub.authenticators.")
    return getattr(authenticators, name)(config=c)


# ---------------------------------------------------------------- the table


def test_without_a_table_people_sign_in_by_shared_passwords(tmp_path: Path) -> None:
    options = load_sign_in(load_settings({"SUBLET_DATA": str(tmp_path)}), ENV)
    assert not options.by_oauth
    c = Config()
    configure_sign_in(c, options)
    assert c == Config(), "nothing is set"


@pytest.mark.parametrize("table", [OIDC, GITHUB, GOOGLE, CILOGON])
def test_a_table_is_read(tmp_path: Path, table: str) -> None:
    options = parse(tmp_path, table)
    assert options.by_oauth
    assert (options.client_secret, options.auth_refresh_age_seconds) == ("hush", 300)
    assert "hush" not in repr(options)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (OIDC + 'user_claim = "sub"\n', "sign_in.user_claim .*no such key. Did you mean username_claim?"),
        (OIDC.replace("allow_all = true", ""), "nobody could sign in"),
        (OIDC.replace("allow_all = true", "allow_all = false\nallowed_users = []"), "nobody could sign in"),
        (GITHUB.replace("allow_all = true", ""), "nobody could sign in"),
        (GOOGLE.replace("allow_all = true", 'hosted_domain = "example.org"'), "nobody could sign in"),
        (CILOGON.replace("allow_all = true", ""), "nobody could sign in"),
        (OIDC + 'client_secret = "hush"\n', "client_secret .*put it into a file oauth_client_secret"),
        (OIDC + 'crypt_key = "ab"\n', "crypt_key .*put it into a file crypt_key"),
        (OIDC.replace('client_id = "sublet"', ""), "client_id is missing"),
        (OIDC.replace(CALLBACK, ""), "callback_url is missing"),
        (OIDC.replace('issuer = "https://login.example.org"', ""), "issuer is missing"),
        (OIDC.replace('jwks_url = "https://login.example.org/keys"', ""), "jwks_url is missing"),
        (OIDC.replace("https://login.example.org/token", "http://login.example.org/token"), "token_url .*https"),
        (OIDC + 'allowed_groups = ["lab"]\n', "need groups_claim"),
        (OIDC + 'admin_groups = ["lab"]\n', "need groups_claim"),
        (OIDC + 'hosted_domain = ["example.org"]\n', 'hosted_domain means nothing with provider = "oidc"'),
        (GITHUB + 'issuer = "https://login.example.org"\n', 'issuer means nothing with provider = "github"'),
        (GOOGLE + 'groups_claim = "groups"\n', 'groups_claim means nothing with provider = "google"'),
        (CILOGON.replace('allowed_idps = ["https://idp.example.edu/shibboleth"]', ""), "allowed_idps is missing"),
        ('provider = "okta"\n', "sign_in.provider"),
        ("allow_all = true\n", "allow_all means nothing with provider = \"shared-password\""),
        (OIDC + "auth_refresh_age_seconds = 0\n", "sign_in.auth_refresh_age_seconds"),
        (OIDC + "allowed_users = [7]\n", "sign_in.allowed_users.0"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_and_named(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        parse(tmp_path, table)
    assert "hush" not in str(refused.value), "no message tells a secret"


def test_it_is_not_read_from_where_another_authenticator_is_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not both"):
        parse(tmp_path, OIDC, SUBLET_AUTHENTICATOR="pam")


def test_without_a_client_secret_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="file oauth_client_secret"):
        parse(tmp_path, OIDC, {})


def test_secrets_come_from_files_of_the_secrets_folder_first(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "oauth_client_secret").write_text("of the file\n")
    options = parse(tmp_path, OIDC, SUBLET_SECRETS_DIR=str(folder))
    assert (options.client_secret, options.crypt_key) == ("of the file", ENV["JUPYTERHUB_CRYPT_KEY"])


def test_every_key_is_documented() -> None:
    told = first_cells(section(page("sign-in.md"), "## The table"))
    assert set(SignIn.model_fields) - {"client_secret", "crypt_key"} == told


def test_the_documented_tables_are_read(tmp_path: Path) -> None:
    tables = [block.code.partition("[sign_in]")[2] for block in blocks("toml") if "[sign_in]" in block.code]
    providers = {parse(tmp_path, table).provider for table in tables}
    assert providers == {"oidc", "github", "google", "cilogon"}


# ---------------------------------------------------------------- what the hub is told


@pytest.mark.parametrize("table", [OIDC, GITHUB, GOOGLE, CILOGON])
def test_every_provider_is_asked_again_and_fails_closed(tmp_path: Path, table: str) -> None:
    made_of_it = made(tmp_path, table.replace("allow_all = true", 'allowed_users = ["Ada"]'))
    assert made_of_it.allowed_users == {"ada"}, "as JupyterHub writes names"
    assert not made_of_it.allow_all
    assert not made_of_it.allow_existing_users
    assert made_of_it.enable_pkce
    assert made_of_it.enable_auth_state
    assert made_of_it.auth_refresh_strict
    assert made_of_it.refresh_pre_spawn
    assert made_of_it.client_secret == "hush"
    assert made_of_it.get_callback_url() == "https://gpus.example.org/hub/oauth_callback"


def test_what_is_said_of_any_authenticator_does_not_open_ours(tmp_path: Path) -> None:
    c = configured(tmp_path, OIDC.replace("allow_all = true", 'allowed_users = ["ada"]'))
    c.Authenticator.allow_all = True
    c.Authenticator.admin_users = {"admin"}
    ours = authenticators.OpenIDAuthenticator(config=c)
    assert (ours.allow_all, ours.admin_users) == (False, set())


def test_groups_are_kept_by_hand_unless_a_claim_is_named(tmp_path: Path) -> None:
    assert not made(tmp_path, OIDC).manage_groups
    ours = made(tmp_path, OIDC + 'groups_claim = "groups"\nadmin_groups = ["ops"]\n')
    assert (ours.manage_groups, ours.admin_groups) == (True, {"ops"})


def test_github_is_asked_for_teams_where_they_matter(tmp_path: Path) -> None:
    assert made(tmp_path, GITHUB).scope == []
    ours = made(tmp_path, GITHUB + 'groups_claim = "teams"\nallowed_organizations = ["lab:gpu"]\n')
    assert (ours.scope, ours.populate_teams_in_auth_state) == (["read:org"], True)
    assert ours.allowed_organizations == {"lab:gpu"}
    teams = [{"slug": "gpu", "organization": {"login": "lab"}}, {"slug": "ops", "organization": {"login": "other"}}]
    assert ours.claimed_groups({"teams": teams}) == ["lab:gpu", "other:ops"]


def test_google_asks_for_a_refresh_token_and_keeps_whole_addresses(tmp_path: Path) -> None:
    ours = made(tmp_path, GOOGLE + 'hosted_domain = "example.org"\nprompt = "consent"\n')
    assert ours.extra_authorize_params == {"access_type": "offline", "prompt": "consent"}
    assert (ours.hosted_domain, ours.strip_domain) == (["example.org"], False)
    user_info = {"email": "ada@example.org", "id": "1"}
    assert ours.user_info_to_username(user_info) == "ada@example.org"


def test_cilogon_takes_only_the_institutions_that_are_named(tmp_path: Path) -> None:
    ours = made(tmp_path, CILOGON + 'username_claim = "email"\n')
    idp = "https://idp.example.edu/shibboleth"
    assert ours.user_info_to_username({"idp": idp, "email": "ada@example.edu"}) == "ada@example.edu"
    with pytest.raises(HTTPError, match="403"):
        ours.user_info_to_username({"idp": "https://elsewhere.example", "email": "ada@example.edu"})


def test_an_unverified_address_is_no_name(tmp_path: Path) -> None:
    ours = made(tmp_path, OIDC + 'username_claim = "email"\n')
    assert ours.user_info_to_username({"email": "a@b.c", "email_verified": True}) == "a@b.c"
    for verified in ({}, {"email_verified": False}, {"email_verified": "true"}):
        with pytest.raises(HTTPError, match="not verified"):
            ours.user_info_to_username({"email": "a@b.c", **verified})


# ---------------------------------------------------------------- the discovery document


@contextmanager
def serving(document: Mapping[str, object]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == id_token.DISCOVERY
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode() if found else b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


DOCUMENT: Mapping[str, object] = {
    "authorization_endpoint": "https://a/auth",
    "token_endpoint": "https://a/token",
    "userinfo_endpoint": "https://a/me",
    "jwks_uri": "https://a/keys",
    "scopes_supported": ["openid", "groups", "offline_access"],
}


def test_a_provider_is_asked_where_things_are(tmp_path: Path) -> None:
    document = dict(DOCUMENT)
    with serving(document) as issuer:
        document["issuer"] = issuer
        table = f'provider = "oidc"\nissuer = "{issuer}"\ngroups_claim = "groups"\n{COMMON}'
        ours = made(tmp_path, table)
    assert (ours.authorize_url, ours.token_url, ours.userdata_url) == (
        "https://a/auth",
        "https://a/token",
        "https://a/me",
    )
    assert ours.jwks_url == "https://a/keys"
    assert ours.scope == ["openid", "profile", "offline_access", "groups"]
    assert ours.username_claim == "sub", "which is nobody else's, ever"


@pytest.mark.parametrize(
    ("document", "said"),
    [({"issuer": "https://evil.example", **DOCUMENT}, "They must be the same"), ({}, "could not be read")],
)
def test_another_providers_document_is_refused(document: Mapping[str, object], said: str) -> None:
    with serving(document) as issuer, pytest.raises(SettingsError, match=said):
        id_token.discover(issuer)


# ---------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("groups", ["a"]),
        ("realm.roles", ["b"]),
        ("https://x.y/groups", ["c"]),
        ("realm.none", None),
        ("groups.a", None),
    ],
)
def test_claims_are_found_by_name_and_by_steps(path: str, found: object) -> None:
    told = {"groups": ["a"], "realm": {"roles": ["b"]}, "https://x.y/groups": ["c"]}
    assert claims.find(told, path) == found


@pytest.mark.parametrize(
    ("claimed", "names"), [("lab", ["lab"]), (["a", 7], ["a", 7]), (None, []), ({"a": 1}, []), ("", [])]
)
def test_one_name_is_one_group_and_not_its_letters(claimed: object, names: list[object]) -> None:
    assert claims.group_names(claimed) == names


def test_only_groups_that_fit_are_taken_and_those_that_let_in_always() -> None:
    names = ["lab-a", "lab-b", "everyone", "gpu-users", "", 7, "x" * 256]
    assert claims.choose_groups(names, frozenset({"gpu-users"}), ["lab-*"]) == ({"lab-a", "lab-b", "gpu-users"}, 3)
    assert claims.choose_groups(["a", "b"], frozenset(), []) == ({"a", "b"}, 0)


def test_too_many_groups_are_cut_and_those_that_let_in_are_kept() -> None:
    names: list[object] = [f"g{number:03}" for number in range(150)]
    chosen, left_out = claims.choose_groups([*names, "zz"], frozenset({"zz"}), [])
    assert (len(chosen), left_out) == (claims.MOST_GROUPS, 51)
    assert "zz" in chosen
