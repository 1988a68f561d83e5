"""`sublet.quota()`: what it asks, what it gives, and what it says when something is wrong."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

import sublet
from tests.extension.conftest import LEASE, LIMIT, Platform, quota_document
from tests.extension.html_tags import Tags

PROBLEM = "https://sublet.dev/problems/"


def test_it_asks_with_the_servers_token(platform: Platform) -> None:
    sublet.quota()
    assert platform.asked == [("/services/sublet/api/quota", "token the-token")]


def test_what_it_gives_to_programs(platform: Platform) -> None:
    quota = sublet.quota()
    assert quota.lease is not None
    assert quota.lease.price_per_hour == Decimal("1.6")
    assert quota.lease.cost == Decimal("1.2")
    assert quota.lease.deadline_at == datetime(2099, 1, 1, 12, tzinfo=UTC)
    assert quota.lease.seconds_left == int((quota.lease.deadline_at - quota.read_at).total_seconds())
    assert quota.account is not None
    assert quota.account.name == "group:lab"
    limit = quota.account.limit("gpu_seconds", "week")
    assert limit is not None
    assert (limit.limit, limit.used, limit.held, limit.left) == (36000, 5400, 600, 30000)
    assert quota.account.limit("gpu_seconds", "day") is None


def test_text_says_what_is_left_at_what_price_until_when(platform: Platform) -> None:
    text = str(sublet.quota())
    assert "h100-2x (surplus, simulated)" in text
    assert "$1.60 per hour for 2 GPUs; $1.20 so far" in text
    assert "2099-01-01 12:00" in text or "2099-01-01 " in text
    assert "when GPU time of group:lab is used up" in text
    assert "8.33 GPU-h" in text
    assert "1.5 GPU-h + 10 GPU-min 0 s held" in text
    # The account that pays comes first.
    assert text.index("Account group:lab, which pays for this lease") < text.index("Account user:alice")
    assert repr(sublet.quota()).splitlines()[0] == text.splitlines()[0]


def test_html_is_whole_and_escaped(platform: Platform) -> None:
    document = quota_document()
    document["leases"][0]["flavor"] = "<script>alert(1)</script>"
    document["accounts"][1]["limits"][0]["flavor"] = "<b>x"
    document["accounts"].append({"subject": "group:<i>", "own": True, "limits": [], "time_zone": "UTC"})
    platform.answer(document)
    html = sublet.quota()._repr_html_()
    parser = Tags.of(html)
    assert parser.seen == {"div", "table", "thead", "tbody", "tr", "th", "td", "span", "i"} | {"p"}
    assert "<script>alert(1)</script> (surplus, simulated)" in parser.text


def test_html_takes_all_colours_from_the_notebook(platform: Platform) -> None:
    html = sublet.quota()._repr_html_()
    assert "#" not in html
    assert "rgb" not in html
    assert html.count("currentColor") >= 2


@pytest.mark.parametrize("missing", ["SUBLET_API_URL", "JUPYTERHUB_API_TOKEN", "SUBLET_LEASE_ID"])
def test_outside_a_lease(platform: Platform, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(sublet.NotInALease, match=f"{missing} not set"):
        sublet.quota()
    assert platform.asked == []


def test_an_address_that_is_none(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBLET_API_URL", "file:///etc/passwd")
    with pytest.raises(sublet.NotInALease, match="is no address"):
        sublet.quota()


def test_nobody_answers(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBLET_API_URL", "http://127.0.0.1:1/services/sublet/api")
    with pytest.raises(sublet.Unavailable, match=r"does not answer at http://127\.0\.0\.1:1") as caught:
        sublet.quota()
    assert "the-token" not in str(caught.value)


def test_no_answer_in_time(platform: Platform) -> None:
    platform.silent = threading.Event()
    with pytest.raises(sublet.Unavailable, match=r"within 0\.2 seconds"):
        sublet.quota(timeout=0.2)


def test_a_refusal_is_told_in_the_platforms_words(platform: Platform) -> None:
    platform.headers["Content-Type"] = "application/problem+json"
    platform.answer({"type": PROBLEM + "not-allowed", "title": "No", "status": 403, "detail": "Not for you."}, 403)
    with pytest.raises(sublet.Refused, match=r"Not for you\.") as caught:
        sublet.quota()
    assert (caught.value.type, caught.value.status) == ("not-allowed", 403)


def test_a_token_that_is_no_longer_good(platform: Platform) -> None:
    platform.answer({"type": PROBLEM + "not-signed-in", "title": "No", "detail": "Unknown token."}, 401)
    with pytest.raises(sublet.Refused, match="stop the server and start it again"):
        sublet.quota()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b'{"type": "https://sublet.dev/problems/unavailable", "detail": "The database does not answer."}'),
        (502, b"<html>Bad gateway</html>"),
        (404, b"not here"),
        (200, b"<html>a login page</html>"),
        (200, b"{}"),
        (200, b"[]"),
        (200, json.dumps({**quota_document(), "leases": [{**LEASE, "gpus_milli": "2000"}]}).encode()),
        (200, json.dumps({**quota_document(), "leases": [{**LEASE, "deadline_at": "soon"}]}).encode()),
        (200, json.dumps({**quota_document(), "currency": None}).encode()),
        (200, b" " * (4 * 1024 * 1024 + 1)),
    ],
)
def test_answers_that_are_none(platform: Platform, status: int, body: bytes) -> None:
    platform.status, platform.body = status, body
    with pytest.raises(sublet.Unavailable):
        sublet.quota()


def test_the_token_is_not_sent_where_an_answer_points(platform: Platform) -> None:
    platform.status, platform.headers = 302, {"Location": f"{platform.url}/elsewhere"}
    with pytest.raises(sublet.Unavailable):
        sublet.quota()
    assert len(platform.asked) == 1


def test_a_proxy_of_the_environment_is_not_asked(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert sublet.quota().user == "alice"


def test_a_lease_that_has_just_ended(platform: Platform) -> None:
    platform.answer({**quota_document(), "leases": []})
    quota = sublet.quota()
    assert quota.lease is None
    assert "which pays" not in str(quota)


def test_without_any_quota_it_says_what_to_do(platform: Platform) -> None:
    platform.answer({**quota_document(), "leases": [], "accounts": []})
    quota = sublet.quota()
    assert "Ask an admin" in str(quota)
    assert "Ask an admin" in quota._repr_html_()


@pytest.mark.parametrize("window", ["day", "total", "P30D", None])
@pytest.mark.parametrize(
    "what", ["gpu_seconds", "money_microunits", "model_tokens", "gpus", "leases", "lease_seconds"]
)
def test_every_kind_of_limit_can_be_shown(platform: Platform, what: str, window: str | None) -> None:
    document = quota_document()
    document["accounts"][1]["limits"] = [{**LIMIT, "what": what, "window": window, "resets_at": None, "limit": 0}]
    platform.answer(document)
    quota = sublet.quota()
    assert str(quota)
    assert quota._repr_html_()


OF_DASK_GATEWAY = {"dask/asked.py", "dask/leased.py"}
"""Imported by nothing until a Dask cluster is leased."""


def test_it_needs_nothing_but_the_standard_library() -> None:
    folder = Path(sublet.__file__).parent
    imported = {
        (str(file.relative_to(folder)), name)
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    foreign = {
        (file, name)
        for file, name in imported
        if name.partition(".")[0] not in set(sys.stdlib_module_names) | {"sublet"}
    }
    assert {file for file, _ in foreign} == OF_DASK_GATEWAY
    of_dask = {f"sublet.{file.removesuffix('.py').replace('/', '.')}" for file in OF_DASK_GATEWAY}
    assert {file for file, name in imported if name in of_dask} <= OF_DASK_GATEWAY


def test_importing_it_does_nothing() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path[:0] = [{str(Path(sublet.__file__).parents[1])!r}]; import sublet",
        ],
        env={},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
