"""Reads that are one look at the store, each in a transaction of its own."""

from __future__ import annotations

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.audit import AuditRecord
from sublet_hub.domain.errors import NoQuota, NotFound
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.notices import Notice
from sublet_hub.domain.offers import DayUse
from sublet_hub.storage import quotas, reporting
from sublet_hub.storage.books import Books
from sublet_hub.storage.limits import effective_quota
from sublet_hub.storage.quotas import QuotaReading
from sublet_hub.storage.reporting import ModelDayUse
from sublet_hub.storage.store import AuditFilter, LeaseFilter


def find_lease(books: Books, lease_id: str) -> Lease:
    """NotFound where there is none of that id."""
    with books.store.transaction(write=False) as tx:
        lease = tx.lease(lease_id)
    if lease is None:
        raise no_such_lease(lease_id)
    return lease


def no_such_lease(lease_id: str) -> NotFound:
    return NotFound(f"There is no lease {lease_id[:100]}.", field="id")


def list_leases(books: Books, wanted: LeaseFilter, after: str | None, limit: int) -> list[Lease]:
    with books.store.transaction(write=False) as tx:
        return tx.leases(wanted, after=after, limit=limit)


def open_leases(books: Books, user: str | None) -> list[Lease]:
    with books.store.transaction(write=False) as tx:
        return tx.open_leases(user=user)


def running_lease(books: Books, user: str, server_name: str) -> Lease | None:
    """The open lease of a user's server; None where it has none."""
    with books.store.transaction(write=False) as tx:
        found = tx.open_leases(user=user)
    notebooks = [lease for lease in found if lease.kind == "notebook" and lease.server_name == server_name]
    return notebooks[-1] if notebooks else None


def model_use(books: Books, account: Subject, since_ms: int) -> tuple[str, list[ModelDayUse]]:
    """An account's use of models by day, in the time zone of its quota; UTC where it has none."""
    time_zone = _time_zone(books, account)
    return time_zone, reporting.model_use_by_day(books, account, since_ms, time_zone)


def list_notices(
    books: Books, user: str | None, lease_id: str | None, *, current_only: bool, limit: int
) -> list[Notice]:
    with books.store.transaction(write=False) as tx:
        return tx.notices(user=user, lease_id=lease_id, current_only=current_only, limit=limit)


def list_audit(books: Books, wanted: AuditFilter, after: int, limit: int) -> list[AuditRecord]:
    with books.store.transaction(write=False) as tx:
        return tx.audit_records(wanted, after=after, limit=limit, newest_first=True)


def account_quotas(books: Books, accounts: tuple[Subject, ...]) -> list[QuotaReading]:
    """The quotas that rule some accounts; those without any are left out, since nothing can be charged to them."""
    readings = []
    for account in accounts:
        try:
            readings.append(quotas.read(books, account))
        except NoQuota:
            continue
    return readings


def daily_use(books: Books, account: Subject, days: int) -> tuple[str, list[DayUse]]:
    """An account's use by day, in the time zone of its quota; UTC where it has none."""
    time_zone = _time_zone(books, account)
    return time_zone, reporting.usage_by_day(books, account, days, time_zone)


def _time_zone(books: Books, account: Subject) -> str:
    try:
        with books.store.transaction(write=False) as tx:
            return effective_quota(tx, account).quota.time_zone
    except NoQuota:
        return "UTC"
