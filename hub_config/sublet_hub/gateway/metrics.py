"""What the gateway tells Prometheus. docs/metrics.md lists all of it; a test compares the two. Labels are names of
the catalogue and words of ours, never anything that a caller sent."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

CALLS = Counter(
    "sublet_gateway_calls",
    "Calls that have ended, by how: done, gone (the client went away), or the problem's type.",
    ["model", "endpoint", "outcome"],
    registry=REGISTRY,
)
TOKENS = Counter("sublet_gateway_tokens", "Tokens counted, input and output.", ["model", "kind"], registry=REGISTRY)
FIRST_BYTE = Histogram(
    "sublet_gateway_first_byte_seconds",
    "Seconds from a call's arrival to the first byte of the model's answer.",
    ["model"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
CALL_SECONDS = Histogram(
    "sublet_gateway_call_seconds", "Seconds that calls took.", ["model"], buckets=BUCKETS, registry=REGISTRY
)
RUNNING = Gauge("sublet_gateway_calls_running", "Calls that a model answers now.", ["model"], registry=REGISTRY)
WAITING = Gauge("sublet_gateway_calls_waiting", "Calls that wait for their turn.", ["model"], registry=REGISTRY)
UPSTREAM_UP = Gauge(
    "sublet_gateway_upstream_up",
    "Whether a model's server is taken to be up; servers are numbered as the catalogue lists them.",
    ["model", "upstream"],
    registry=REGISTRY,
)
STARTED_SERVERS = Gauge(
    "sublet_gateway_started_servers",
    "Models' servers that this gateway has started, and that run.",
    ["model", "kind"],
    registry=REGISTRY,
)
UPSTREAM_FAILURES = Counter(
    "sublet_gateway_upstream_failures",
    "What went wrong with models' servers: connect, broke, silent, garbage, status.",
    ["model", "kind"],
    registry=REGISTRY,
)
UNMEASURED = Counter(
    "sublet_gateway_unmeasured_calls",
    "Calls whose tokens had to be estimated, since their server sent no record of use.",
    ["model"],
    registry=REGISTRY,
)
POSTS = Counter(
    "sublet_gateway_posts",
    "Posts of use to the api: done, failed (tried again), refused.",
    ["outcome"],
    registry=REGISTRY,
)
UNPOSTED = Gauge("sublet_gateway_unposted_calls", "Ended calls that are not yet in the ledger.", registry=REGISTRY)
TOKEN_CHECKS = Counter(
    "sublet_gateway_token_checks", "Checks of callers' tokens: hit, miss, refused, unavailable.", ["result"],
    registry=REGISTRY,
)  # fmt: skip
BODY_BYTES = Gauge("sublet_gateway_body_bytes", "Memory that the bodies of long calls take now.", registry=REGISTRY)
RATE_REFUSALS = Counter(
    "sublet_gateway_rate_refusals",
    "Calls refused since they came too fast, by whose rate: the account's, or the account's for one model.",
    ["rate"],
    registry=REGISTRY,
)
FAILURES = Counter(
    "sublet_gateway_failures", "Errors of the gateway's own, by their class.", ["error"], registry=REGISTRY
)

# Looking up a labelled metric takes longer than counting; there are few combinations, so they are kept.
calls = cache(CALLS.labels)
tokens = cache(TOKENS.labels)
first_byte = cache(FIRST_BYTE.labels)
call_seconds = cache(CALL_SECONDS.labels)
running = cache(RUNNING.labels)
waiting = cache(WAITING.labels)


def text() -> bytes:
    return generate_latest(REGISTRY)
