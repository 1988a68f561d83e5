"""Stands in for Sublet's api: a real HTTP server that answers the hub's calls from memory, as the contract says."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "spawner-token"
PROBLEMS = "https://sublet.dev/problems/"
GIB = 2**30

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    body: Json
    headers: Mapping[str, str]


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def problem(name: str, detail: str, status: int = 403, **members: object) -> Json:
    return {"type": PROBLEMS + name, "title": name.replace("-", " "), "status": status, "detail": detail, **members}


def used_up(subject: str = "user:alice", *, limit: int = 36_000) -> Json:
    """The refusal of a weekly limit on GPU time."""
    return problem(
        "quota-exceeded",
        f"The limit of {limit} GPU-seconds per week in the quota of {subject} is reached.",
        retry_at="2026-11-30T00:00:00.000Z",
        subject=subject,
        limit={"what": "gpu_seconds", "limit": limit, "window": "week", "flavor": None},
    )


def choice(account: str, tier: str, *, lasts: int | None = 34_800, refusal: Json | None = None) -> Json:
    return {
        "account": account,
        "tier": tier,
        "available": refusal is None,
        "lasts_seconds": lasts if refusal is None else 0,
        "held_seconds": 600 if refusal is None else 0,
        "problem": refusal,
    }


def offer(
    flavor: str,
    title: str,
    accounts: Sequence[str],
    *,
    prices: Mapping[str, int] | None = None,
    gpus: int = 1,
    gpus_milli: int | None = None,
    free: int | None = 3,
    model: str = "Simulated GPU",
    simulated: bool = True,
    refusals: Mapping[str, Json] | None = None,
    lasts: int | None = 34_800,
    **members: object,
) -> Json:
    """An offer; `refusals` are by account, `prices` per hour by tier."""
    prices = {"guaranteed": 2_000_000} if prices is None else prices
    return {
        "flavor": flavor,
        "title": title,
        "gpu_model": model,
        "gpus_milli": gpus * 1000 if gpus_milli is None else gpus_milli,
        "gpus": gpus,
        "cpus": 8,
        "memory_bytes": 32 * GIB,
        "gpu_memory_bytes": 16 * GIB,
        "pool": "pool",
        "simulated": simulated,
        "currency": "USD",
        "free": free,
        "tiers": [
            {"tier": tier, "price_microunits_per_gpu_hour": price, "price_microunits_per_hour": price}
            for tier, price in prices.items()
        ],
        "choices": [
            choice(account, tier, lasts=lasts, refusal=(refusals or {}).get(account))
            for account in accounts
            for tier in prices
        ],
        **members,
    }


def usual_offers(accounts: Sequence[str]) -> list[Json]:
    return [
        offer("sim-1x", "1 × Simulated GPU", accounts, prices={"guaranteed": 2_000_000, "surplus": 800_000}),
        offer(
            "cpu",
            "CPU only",
            accounts,
            prices={"guaranteed": 0},
            gpus=0,
            free=None,
            simulated=False,
            model="",
            lasts=None,
        ),
    ]


@dataclass
class FakeApi:
    """What the api would know; tests set it and look at `calls`."""

    url: str = ""
    offers: Callable[[Sequence[str]], list[Json]] = usual_offers
    refusal: Json | None = None
    """What the next requests for a lease are refused with."""
    cut_off: set[str] = field(default_factory=set)
    """Ends of paths whose next call is carried out, and its answer lost."""
    broken: bool = False
    lease_seconds: float = 3600
    models: Sequence[str] = ()
    """The gated models that the next leases may read."""
    leases: dict[str, Json] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def asked(self, method: str, path_end: str) -> list[Call]:
        return [call for call in self.calls if call.method == method and call.path.endswith(path_end)]

    def add_lease(self, user: str, **members: object) -> Json:
        now = datetime.now(UTC)
        lease = {
            "id": f"lease-{secrets.token_hex(6)}",
            "user": user,
            "account": f"user:{user}",
            "flavor": "sim-1x",
            "tier": "guaranteed",
            "kind": "notebook",
            "state": "granted",
            "requested_at": stamp(now),
            "started_at": None,
            "ended_at": None,
            "deadline_at": stamp(now + timedelta(seconds=self.lease_seconds)),
            "gpus_milli": 1000,
            "gpu_seconds": 0,
            "cost_microunits": 0,
            "currency": "USD",
            "end_reason": None,
            "simulated": True,
            "server_name": "",
            "pool": "sim",
            "deadline_reason": "quota",
            "deadline_limit": None,
            "price_microunits_per_gpu_hour": 2_000_000,
            **members,
        }
        self.leases[str(lease["id"])] = lease
        return lease

    # ---------------------------------------------------------------- answers

    def answer(self, call: Call) -> tuple[int, Any]:
        if self.broken:
            return 500, problem("error", "The database is on fire.", 500)
        if call.headers.get("authorization") != f"token {TOKEN}":
            return 401, problem("not-signed-in", "Show a token.", 401)
        key = call.headers.get("idempotency-key", "")
        if key in self.answers:
            return self.answers[key]
        answered = self._fresh(call)
        if key:
            self.answers[key] = answered
        return answered

    def _fresh(self, call: Call) -> tuple[int, Any]:
        parts = call.path.removeprefix("/services/sublet/api/").split("/")
        if call.method == "GET" and parts == ["flavors"]:
            accounts = [f"user:{call.query['user'][0]}", *(f"group:{name}" for name in call.query.get("group", ()))]
            return 200, self.offers(accounts)
        if call.method == "GET" and parts == ["leases"]:
            newest = [lease for lease in reversed(self.leases.values()) if lease["user"] == call.query["user"][0]]
            return 200, newest[: int(call.query["limit"][0])]
        if call.method == "POST" and parts == ["leases"]:
            return self._grant(call.body)
        lease = self.leases.get(parts[1])
        if lease is None:
            return 404, problem("not-found", "There is no such lease.", 404)
        if call.method == "POST":
            if lease["state"] in {"ended", "void"}:
                return 409, problem("conflict", "The lease has ended.", 409)
            started = lease["started_at"] is not None
            lease |= {
                "state": "ended" if started else "void",
                "end_reason": call.body["reason"],
                "ended_at": stamp(datetime.now(UTC)),
            }
        return 200, lease

    def _grant(self, body: Json) -> tuple[int, Any]:
        if self.refusal:
            return self.refusal["status"], self.refusal
        assert set(body) == {"user", "groups", "account", "flavor", "tier", "kind", "server_name"}
        offered = next(one for one in self.offers([body["account"]]) if one["flavor"] == body["flavor"])
        lease = self.add_lease(
            body["user"],
            account=body["account"],
            flavor=body["flavor"],
            tier=body["tier"],
            server_name=body["server_name"],
            simulated=offered["simulated"],
            gpus_milli=offered["gpus_milli"],
            started_at=stamp(datetime.now(UTC)),
            state="active",
        )
        devices = [f"SIM-{number}" for number in range(offered["gpus"])]
        return 201, {**lease, "devices": devices, "held_seconds": 600, "models": self.models}


@contextmanager
def serve(api: FakeApi, port: int = 0) -> Iterator[FakeApi]:
    """The api on a port of this machine, for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            where = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.command, where.path, parse_qs(where.query), body, headers)
            api.calls.append(call)
            status, content = api.answer(call)
            lost = {end for end in api.cut_off if call.path.endswith(end)}
            if lost:
                api.cut_off -= lost
                self.connection.close()
                return
            encoded = json.dumps(content).encode()
            self.send_response(status)
            kind = "application/json" if status < 400 else "application/problem+json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = _handle  # noqa: N815 — names of http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
