"""Checks of what is kept: the database, the meter's heartbeat, leases against their records, the audit chain."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sublet_hub.cli import units
from sublet_hub.cli.doctor.findings import Finding, ok, problem, warning
from sublet_hub.cli.platform import is_running
from sublet_hub.cluster.records import RecordError, read_record
from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.audit import record_mac
from sublet_hub.domain.lease import LeaseState
from sublet_hub.settings import Settings
from sublet_hub.storage.anchors import Anchors
from sublet_hub.storage.books import METER, Books
from sublet_hub.storage.store import AuditFilter

CLOSED = "closed"
QUICK_RECORDS = 500
"""So many of the newest audit records are looked at; `sublet audit verify` looks at all."""

METER_LOG_MEND = "Read the meter's log in the data folder; `sublet up` starts the meter again by itself."

BookCheck = Callable[[Settings, Books], Iterator[Finding]]
"""Like a `Check`, of an opened database."""


def database(settings: Settings, books: Books) -> Iterator[Finding]:
    """The database answers and has the tables of this version."""
    with books.store.transaction(write=False) as tx:
        count = tx.audit_head().number
    kind = settings.database_url.partition(":")[0].partition("+")[0]
    yield ok("database", f"{kind}, with the tables of this version and {count:,} audit records.")


def quota(_settings: Settings, books: Books) -> Iterator[Finding]:
    """There is a default quota; without one, nobody can lease anything who has none of their own."""
    with books.store.transaction(write=False) as tx:
        found = tx.quota(DEFAULT)
    if found is None:
        yield warning(
            "quota",
            "There is no default quota: who has none of their own is refused every lease.",
            "Set one: sublet quota set default --limit gpu_seconds=10h/week",
        )
    else:
        yield ok("quota", f"The default quota has {len(found.limits)} limits.")


def heartbeat(settings: Settings, books: Books) -> Iterator[Finding]:
    """The meter was heard of lately: without it no lease is granted."""
    with books.store.transaction(write=False) as tx:
        beat_ms = tx.last_beat(METER)
    if not is_running(settings.data):
        return  # `parts` says so
    if beat_ms is None:
        yield problem("heartbeat", "The meter has never been heard of; no lease is granted.", METER_LOG_MEND)
        return
    age_ms = books.clock.now_ms() - beat_ms
    if age_ms > books.policy.meter_stale_ms:
        text = f"The meter was last heard of {units.duration(age_ms // 1000)} ago; no lease is granted."
        yield problem("heartbeat", text, METER_LOG_MEND)
    elif age_ms < -2000:
        mend = "Set the clock by NTP (chrony)."
        yield problem("heartbeat", "The meter's last round lies in the future: the clock was set back.", mend)
    else:
        yield ok("heartbeat", f"The meter's last round was {max(0, age_ms) / 1000:.1f} s ago.")


@dataclass(frozen=True, slots=True)
class _Folders:
    """The lease folders there are: those that can be read, and a sentence for each that can't."""

    place: Path
    good: frozenset[str]
    broken: dict[str, str]


def leases(settings: Settings, books: Books) -> Iterator[Finding]:
    """Every running lease has a record by its supervising parent, and every record a lease."""
    folders = _folders(settings)
    with books.store.transaction(write=False) as tx:
        open_leases = tx.open_leases()
        known = {name: tx.lease(name) for name in folders.good}
    for name, why in folders.broken.items():
        yield problem(
            "leases",
            f"The record of lease {name} can't be read: {why}.",
            f"Its server runs until its deadline, unmetered. Look at {folders.place / name}; once nothing"
            " runs there, move it away.",
        )
    started = {lease.id for lease in open_leases if lease.state is not LeaseState.GRANTED}
    for lease_id in sorted(started - folders.good - folders.broken.keys()):
        mend = f"If nothing of it runs any more: sublet leases stop {lease_id} --immediately"
        yield problem("leases", f"Lease {lease_id} is open but has no record in {folders.place}.", mend)
    for name in sorted(name for name, lease in known.items() if lease is None):
        mend = f"Was the database put back from a backup? Its server ends at its deadline; then move {name} away."
        yield problem("leases", f"There is a record of lease {name}, of which the database knows nothing.", mend)
    yield ok("leases", f"{len(open_leases)} open leases, {len(folders.good)} records.")


def _folders(settings: Settings) -> _Folders:
    good, broken = set(), {}
    place = settings.data / "leases"
    for folder in place.iterdir() if place.is_dir() else ():
        if folder.name == CLOSED or not folder.is_dir():
            continue
        try:
            read_record(folder)
            good.add(folder.name)
        except (RecordError, OSError) as error:
            broken[folder.name] = str(error)
    return _Folders(place, frozenset(good), broken)


def audit(settings: Settings, books: Books) -> Iterator[Finding]:
    """The newest audit records are whole, and agree with what was noted outside the database."""
    mend = "Find out more with: sublet audit verify"
    anchors = Anchors(settings.anchors_file).read()
    with books.store.transaction(write=False) as tx:
        head = tx.audit_head()
        newest = tx.audit_records(AuditFilter(), after=0, limit=QUICK_RECORDS, newest_first=True)
    faults = [
        f"Record {record.number} was changed."
        for record in newest
        if record_mac(record, books.audit_key) != record.mac or anchors.get(record.number, record.mac) != record.mac
    ]
    faults += [
        f"Record {older.number + 1} is missing or was changed."
        for newer, older in itertools.pairwise(newest)
        if (newer.number, newer.previous) != (older.number + 1, older.mac)
    ]
    last = newest[0].number if newest else 0
    if last < max([head.number, *anchors]):
        faults.append("Records are missing at the end.")
    for fault in faults[:10]:
        yield problem("audit", fault, mend)
    if not faults:
        yield ok("audit", f"The newest {len(newest):,} audit records are whole.")
