"""What the meter tells Prometheus. docs/metrics.md lists all of it; a test compares the two."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

LEASES = Gauge("sublet_meter_leases", "Open leases by state, at the last round.", ["state"], registry=REGISTRY)
GPU_SECONDS = Counter("sublet_meter_gpu_seconds_posted", "GPU-seconds posted to the ledger.", registry=REGISTRY)
ACTIONS = Counter(
    "sublet_meter_actions", "Actions carried out, by kind and outcome.", ["action", "outcome"], registry=REGISTRY
)
FAULTS = Counter("sublet_meter_faults", "Things an admin should look at, by kind.", ["kind"], registry=REGISTRY)
STRAY_GPUS = Gauge(
    "sublet_meter_stray_gpus", "GPUs held by what is no lease, where only leases should be.", registry=REGISTRY
)
ALLOWANCES_EXPIRED = Counter(
    "sublet_meter_allowances_expired",
    "Allowances for calls of models that nobody renewed or released in time.",
    registry=REGISTRY,
)
ROUNDS = Counter("sublet_meter_rounds", "Rounds of the meter, by outcome.", ["outcome"], registry=REGISTRY)
KUBE_REQUESTS = Counter(
    "sublet_meter_kube_requests",
    "Requests to the Kubernetes API server, by verb and HTTP status (`none`: no answer).",
    ["verb", "code"],
    registry=REGISTRY,
)
PLAN_SECONDS = Histogram("sublet_meter_plan_seconds", "Seconds to observe and plan a round.", registry=REGISTRY)
APPLY_SECONDS = Histogram("sublet_meter_apply_seconds", "Seconds to carry a round's plan out.", registry=REGISTRY)
LAG_SECONDS = Gauge(
    "sublet_meter_lag_seconds",
    "How long ago the oldest start or end that the last round learned of happened; 0 if it learned of none.",
    registry=REGISTRY,
)
