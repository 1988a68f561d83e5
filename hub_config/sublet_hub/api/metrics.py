"""What the api tells Prometheus. docs/metrics.md explains each."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sublet_hub.domain.lease import OPEN

TokenCheck = Literal["hit", "miss", "refused", "unavailable"]
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _OpenLeases(Collector):
    """Open leases by state, counted when they are asked for."""

    def __init__(self, states: Callable[[], Iterable[str]]) -> None:
        self._states = states

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("sublet_leases", "Open leases now, by state.", labels=["state"])

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("sublet_leases", "Open leases now, by state.", labels=["state"])
        counted = Counts(self._states())
        for state in sorted(OPEN):
            family.add_metric([state.value], counted[state.value])
        yield family


class Metrics:
    """The api's own registry, and a method for each thing that happens."""

    def __init__(self, open_states: Callable[[], Iterable[str]]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_OpenLeases(open_states))
        self._requests = Counter(
            "sublet_api_requests_total",
            "Answered requests.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "sublet_api_request_seconds",
            "Seconds from a request's arrival to its answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "sublet_api_requests_in_flight", "Requests that are being answered.", registry=self.registry
        )
        self.event_streams = Gauge(
            "sublet_api_event_streams", "Event streams of leases that are open now.", registry=self.registry
        )
        self._events = Counter(
            "sublet_api_events_total", "Events sent on streams of leases.", ["event"], registry=self.registry
        )
        self._failures = Counter(
            "sublet_api_failures_total",
            "Requests that ended in an error of ours, by its class.",
            ["error"],
            registry=self.registry,
        )
        self._decisions = Counter(
            "sublet_decisions_total",
            "Decisions on requests for leases; the reason of a refusal is its problem type.",
            ["outcome", "reason"],
            registry=self.registry,
        )
        self._allowances = Counter(
            "sublet_allowances_total",
            "Decisions on requests for allowances; the reason of a refusal is its problem type.",
            ["outcome", "reason"],
            registry=self.registry,
        )
        self._callers = Counter(
            "sublet_model_callers_total", "Callers of models that the gateway asked about.", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self._calls = Counter(
            "sublet_model_calls_total", "Calls of models that were booked.", ["model"], registry=self.registry
        )
        self._tokens = Counter(
            "sublet_model_tokens_total",
            "Tokens of calls that were booked.",
            ["model", "kind"],
            registry=self.registry,
        )
        self._money = Counter(
            "sublet_model_money_microunits_total", "Price of calls that were booked.", ["model"],
            registry=self.registry,
        )  # fmt: skip
        self._token_checks = Counter(
            "sublet_api_token_checks_total", "Checks of hub tokens.", ["result"], registry=self.registry
        )
        self._database_seconds = Histogram(
            "sublet_api_database_seconds",
            "Seconds of an operation on the database, waiting for its turn included.",
            ["operation"],
            buckets=BUCKETS,
            registry=self.registry,
        )

        # Looking up a labelled metric takes longer than counting; there are few combinations, so they are kept.
        self._requests_of = cache(lambda method, route, status: self._requests.labels(method, route, str(status)))
        self._seconds_of = cache(self._request_seconds.labels)
        self._checks_of = cache(self._token_checks.labels)
        self._operations_of = cache(self._database_seconds.labels)
        self._events_of = cache(self._events.labels)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests_of(method, route, status).inc()
        self._seconds_of(method, route).observe(seconds)

    def failed(self, error: BaseException) -> None:
        self._failures.labels(type(error).__name__).inc()

    def decided(self, reason: str | None) -> None:
        """A lease was granted (None) or refused for a reason."""
        self._decisions.labels("granted" if reason is None else "refused", reason or "none").inc()

    def allowance_decided(self, reason: str | None) -> None:
        """An allowance was granted (None) or refused for a reason."""
        self._allowances.labels("granted" if reason is None else "refused", reason or "none").inc()

    def caller_identified(self, result: Literal["known", "refused"]) -> None:
        self._callers.labels(result).inc()

    def calls_posted(self, model: str, calls: int, input_tokens: int, output_tokens: int, money: int) -> None:
        """Calls were booked. `model` is a name of the catalogue, or `unknown`."""
        self._calls.labels(model).inc(calls)
        self._tokens.labels(model, "input").inc(input_tokens)
        self._tokens.labels(model, "output").inc(output_tokens)
        self._money.labels(model).inc(money)

    def event_sent(self, name: str) -> None:
        self._events_of(name).inc()

    def token_checked(self, result: TokenCheck) -> None:
        self._checks_of(result).inc()

    def database_used(self, operation: str, seconds: float) -> None:
        self._operations_of(operation).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
