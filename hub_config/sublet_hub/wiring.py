"""From settings to what the platform's processes work with: the books, the policy, the default quota."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from sublet_hub.catalog import check_model_leases, default_quota, load_catalog, load_models
from sublet_hub.clock import Clock, SystemClock
from sublet_hub.cluster.kube.warden import end_margin_ms
from sublet_hub.credentials import read_secrets
from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.policy import Policy
from sublet_hub.settings import Settings
from sublet_hub.storage import open_store
from sublet_hub.storage.books import Books
from sublet_hub.storage.quotas import set_first_quota

KILL_MARGIN_MS = 300
"""How long the kernel may take, after SIGKILL, to give back what a server held."""


def policy_of(settings: Settings) -> Policy:
    """The times that rule leases. A quota's deadline leaves room for what may pass between it and the end."""
    return Policy(
        slice_ms=settings.slice_seconds * 1000,
        minimum_lease_ms=settings.minimum_lease_seconds * 1000,
        grant_ttl_ms=settings.grant_ttl_seconds * 1000,
        post_interval_ms=settings.post_interval_seconds * 1000,
        meter_stale_ms=settings.meter_heartbeat_stale_seconds * 1000,
        notice_leads_seconds=settings.notice_seconds,
        end_margin_ms=_end_margin_ms(settings),
        longest_lease_ms=settings.lease_seconds_max * 1000,
        stop_ms=_stop_ms(settings),
    )


def _stop_ms(settings: Settings) -> int:
    """The grace of a stop, and the round in which the meter passes it on."""
    grace = settings.stop_grace_seconds
    seconds = math.ceil(grace) if settings.cluster == "kubernetes" else grace
    return round((seconds + settings.meter_tick_seconds) * 1000)


def _end_margin_ms(settings: Settings) -> int:
    if settings.cluster == "kubernetes":
        return end_margin_ms(math.ceil(settings.stop_grace_seconds))
    return round(settings.term_grace_seconds * 1000) + KILL_MARGIN_MS


@contextmanager
def open_books(settings: Settings, clock: Clock | None = None) -> Iterator[Books]:
    """The books of a platform, closed at the end of the block. Its database must have been migrated.

    SettingsError where `sublet.toml` or `models.toml` is wrong, CredentialsError before the first `sublet up`,
    Unavailable where the database doesn't answer.
    """
    catalog, models = load_catalog(settings), load_models(settings)
    check_model_leases(models, settings, catalog)
    audit_key = bytes.fromhex(read_secrets(settings.data, settings.secrets_dir).audit_key)
    store = open_store(settings.database_url)
    try:
        yield Books(store, catalog, policy_of(settings), clock or SystemClock(), audit_key, models)
    finally:
        store.close()


def seed_default_quota(books: Books, settings: Settings) -> bool:
    """Set the default quota of a platform on which nothing has ever happened; says whether it did.

    Not again later: an admin who removes the default quota means it.
    """
    why = "The quota a new platform begins with"
    return set_first_quota(books, DEFAULT, default_quota(settings), actor="up", why=why)
