"""The store in memory: for tests and demonstrations. What it keeps ends with the process.

A writing transaction works on its own copy of the tables, which replaces the shared one when it commits: rolling back
is forgetting the copy, and a reading transaction sees one moment without a lock. It costs by how much is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sublet_hub.domain.acceptances import Acceptance
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.activity import Activity, minute_of
from sublet_hub.domain.allowances import Allowance, ModelUse
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.audit import GENESIS, AuditRecord
from sublet_hub.domain.errors import Conflict
from sublet_hub.domain.flavors import IdlePolicy
from sublet_hub.domain.idle import is_quiet
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.ledger import BucketUse, Entry
from sublet_hub.domain.notices import Notice
from sublet_hub.domain.quota import Quota
from sublet_hub.storage.store import (
    ALREADY_THERE,
    MOST_ROWS,
    AuditFilter,
    ChainHead,
    LeaseFilter,
    SavedAnswer,
    Transaction,
)
from sublet_hub.storage.turns import Turns

_Totals = tuple[tuple[int, Amount], ...]
"""Running totals of one account and flavor, by bucket in order."""


_NO_RECORD = ChainHead(0, GENESIS)


@dataclass(slots=True)
class _Tables:
    quotas: dict[Subject, Quota] = field(default_factory=dict)
    totals: dict[tuple[Subject, str | None], _Totals] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    entries: dict[Subject, tuple[Entry, ...]] = field(default_factory=dict)
    heads: dict[Subject, ChainHead] = field(default_factory=dict)
    notices: dict[str, Notice] = field(default_factory=dict)
    activity: dict[tuple[str, int], Activity] = field(default_factory=dict)
    allowances: dict[str, Allowance] = field(default_factory=dict)
    model_use: dict[tuple[Subject, int, str], ModelUse] = field(default_factory=dict)
    acceptances: dict[int, Acceptance] = field(default_factory=dict)
    audit: dict[int, AuditRecord] = field(default_factory=dict)
    answers: dict[tuple[str, str], SavedAnswer] = field(default_factory=dict)
    beats: dict[str, int] = field(default_factory=dict)
    audit_head: ChainHead = _NO_RECORD

    def copy(self) -> _Tables:
        """Another set of tables with the same rows; rows are never changed in place."""
        return _Tables(
            quotas=self.quotas.copy(),
            totals=self.totals.copy(),
            leases=self.leases.copy(),
            entries=self.entries.copy(),
            heads=self.heads.copy(),
            notices=self.notices.copy(),
            activity=self.activity.copy(),
            allowances=self.allowances.copy(),
            model_use=self.model_use.copy(),
            acceptances=self.acceptances.copy(),
            audit=self.audit.copy(),
            answers=self.answers.copy(),
            beats=self.beats.copy(),
            audit_head=self.audit_head,
        )


class MemoryStore:
    """Keeps everything in this process's memory."""

    def __init__(self) -> None:
        self._tables = _Tables()
        self._turns = Turns(alone=True)

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Transaction]:
        if not write:
            yield _MemoryTransaction(self._tables, writes=False)
            return
        with self._turns.take():
            copy = self._tables.copy()
            yield _MemoryTransaction(copy, writes=True)
            self._tables = copy

    def close(self) -> None:
        """Nothing is held open."""


class _MemoryTransaction:
    def __init__(self, tables: _Tables, *, writes: bool) -> None:
        self._now = tables
        self._writes = writes

    @property
    def _tables(self) -> _Tables:
        """The tables, to change them."""
        if not self._writes:
            raise RuntimeError("this transaction only reads")
        return self._now

    def lock(self, *names: str) -> None:
        assert names
        assert self._tables is self._now, "writing transactions come one at a time, so all is locked"

    # Quotas

    def quota(self, subject: Subject) -> Quota | None:
        return self._now.quotas.get(subject)

    def set_quota(self, subject: Subject, quota: Quota | None) -> None:
        if quota is None:
            self._tables.quotas.pop(subject, None)
        else:
            self._tables.quotas[subject] = quota

    def quotas(self, after: Subject | None, limit: int) -> list[tuple[Subject, Quota]]:
        found = sorted((s, q) for s, q in self._now.quotas.items() if after is None or s > after)
        return found[: min(limit, MOST_ROWS)]

    # Balances

    def used_before(self, account: Subject, flavor: str | None, at_ms: int) -> Amount:
        totals = self._now.totals.get((account, flavor), ())
        index = bisect_left(totals, at_ms, key=lambda total: total[0])
        return totals[index - 1][1] if index else ZERO

    def used_in_all(self, account: Subject, flavor: str | None) -> Amount:
        totals = self._now.totals.get((account, flavor), ())
        return totals[-1][1] if totals else ZERO

    def first_use(self, account: Subject, flavor: str | None, from_ms: int) -> int | None:
        totals = self._now.totals.get((account, flavor), ())
        index = bisect_left(totals, from_ms, key=lambda total: total[0])
        return totals[index][0] if index < len(totals) else None

    def add_use(self, account: Subject, flavor: str | None, uses: Iterable[BucketUse]) -> None:
        tables = self._tables
        for use in uses:
            for key in {(account, None), (account, flavor)}:
                tables.totals[key] = _with_use(tables.totals.get(key, ()), use)

    # Leases

    def add_lease(self, lease: Lease) -> None:
        if lease.id in self._tables.leases:
            raise Conflict(ALREADY_THERE)
        self._tables.leases[lease.id] = lease

    def save_lease(self, lease: Lease) -> None:
        if lease.id not in self._tables.leases:
            raise KeyError(lease.id)
        self._tables.leases[lease.id] = lease

    def save_leases(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self.save_lease(lease)

    def lease(self, lease_id: str) -> Lease | None:
        return self._now.leases.get(lease_id)

    def open_leases(
        self, *, user: str | None = None, account: Subject | None = None, pool: str | None = None
    ) -> list[Lease]:
        return sorted(
            (
                lease
                for lease in self._now.leases.values()
                if lease.is_open
                and (user is None or lease.user == user)
                and (account is None or lease.account == account)
                and (pool is None or lease.pool == pool)
            ),
            key=_age,
        )

    def open_parties(self, *, user: str | None = None) -> list[tuple[Subject, str]]:
        return list({(lease.account, lease.user) for lease in self.open_leases(user=user)})

    def leases(self, wanted: LeaseFilter, *, after: str | None, limit: int) -> list[Lease]:
        found = sorted((ls for ls in self._now.leases.values() if _wanted(ls, wanted)), key=_age, reverse=True)
        if after is not None:
            last = self._now.leases.get(after)
            found = [lease for lease in found if last is not None and _age(lease) < _age(last)]
        return found[: min(limit, MOST_ROWS)]

    # Following

    def lease_marks(self, lease_ids: Collection[str]) -> dict[str, str]:
        noticed: dict[str, list[str]] = {}
        for notice in self.current_notices(lease_ids):
            noticed.setdefault(notice.lease_id, []).append(notice.id)
        return {lease.id: f"{lease} {noticed.get(lease.id)}" for lease in self.leases_named(lease_ids)}

    def leases_named(self, lease_ids: Collection[str]) -> list[Lease]:
        return [self._now.leases[lease_id] for lease_id in lease_ids if lease_id in self._now.leases]

    def current_notices(self, lease_ids: Collection[str]) -> list[Notice]:
        wanted = set(lease_ids)
        found = [each for each in self._now.notices.values() if each.lease_id in wanted and each.is_current]
        return sorted(found, key=lambda notice: (notice.written_at_ms, notice.id))

    # Ledger

    def ledger_head(self, account: Subject) -> ChainHead:
        return self._now.heads.get(account, ChainHead(0, GENESIS))

    def append_entries(self, entries: Sequence[Entry]) -> None:
        tables = self._tables
        for entry in entries:
            before = tables.entries.get(entry.account, ())
            if before and entry.number <= before[-1].number:
                raise Conflict(ALREADY_THERE)
            tables.entries[entry.account] = (*before, entry)
            tables.heads[entry.account] = ChainHead(entry.number, entry.hash)

    def entries(self, account: Subject, *, after: int, limit: int) -> list[Entry]:
        found = [entry for entry in self._now.entries.get(account, ()) if entry.number > after]
        return found[: min(limit, MOST_ROWS)]

    def accounts(self, after: Subject | None, limit: int) -> list[Subject]:
        found = sorted(account for account in self._now.heads if after is None or account > after)
        return found[: min(limit, MOST_ROWS)]

    # Allowances

    def add_allowance(self, allowance: Allowance) -> None:
        if allowance.id in self._tables.allowances:
            raise Conflict(ALREADY_THERE)
        self._tables.allowances[allowance.id] = allowance

    def save_allowance(self, allowance: Allowance) -> None:
        if allowance.id not in self._tables.allowances:
            raise KeyError(allowance.id)
        self._tables.allowances[allowance.id] = allowance

    def allowance(self, allowance_id: str) -> Allowance | None:
        return self._now.allowances.get(allowance_id)

    def open_allowances(self, account: Subject) -> list[Allowance]:
        return [each for each in self._now.allowances.values() if each.is_open and each.account == account]

    def held_by_allowances(self, account: Subject) -> Amount:
        return sum((each.held for each in self.open_allowances(account)), ZERO)

    def held_by_all_allowances(self) -> dict[Subject, Amount]:
        accounts = {each.account for each in self._now.allowances.values() if each.is_open}
        return {account: self.held_by_allowances(account) for account in accounts}

    def expired_allowances(self, now_ms: int, limit: int) -> list[Allowance]:
        found = [each for each in self._now.allowances.values() if each.is_open and each.expires_at_ms <= now_ms]
        return sorted(found, key=lambda each: (each.expires_at_ms, each.id))[: min(limit, MOST_ROWS)]

    def drop_allowances(self, before_ms: int, limit: int) -> int:
        tables = self._tables
        closed = (
            (each.closed_at_ms, each.id) for each in tables.allowances.values() if each.closed_at_ms is not None
        )
        old = sorted(each for each in closed if each[0] < before_ms)[:limit]
        for _, allowance_id in old:
            del tables.allowances[allowance_id]
        return len(old)

    # Use by model

    def add_model_use(self, account: Subject, bucket_ms: int, uses: Mapping[str, ModelUse]) -> None:
        tables = self._tables
        for model, use in uses.items():
            key = (account, bucket_ms, model)
            tables.model_use[key] = tables.model_use.get(key, ModelUse()) + use

    def model_use(self, account: Subject, from_ms: int, to_ms: int) -> dict[str, ModelUse]:
        found: dict[str, ModelUse] = {}
        for (of, bucket_ms, model), use in sorted(self._now.model_use.items(), key=lambda item: item[0][2]):
            if of == account and from_ms <= bucket_ms < to_ms:
                found[model] = found.get(model, ModelUse()) + use
        return found

    # Acceptances

    def add_acceptance(self, acceptance: Acceptance) -> None:
        key = (acceptance.subject, acceptance.licence, acceptance.version)
        there = ((each.subject, each.licence, each.version) for each in self._now.acceptances.values())
        if acceptance.number in self._tables.acceptances or key in there:
            raise Conflict(ALREADY_THERE)
        self._tables.acceptances[acceptance.number] = acceptance

    def acceptances_of(self, subjects: Collection[Subject]) -> list[Acceptance]:
        found = [each for each in self._now.acceptances.values() if each.subject in subjects]
        return sorted(found, key=lambda each: each.number)

    def acceptances(self, *, licence: str | None, after: int, limit: int) -> list[Acceptance]:
        found = [
            each
            for each in self._now.acceptances.values()
            if each.number > after and (licence is None or each.licence == licence)
        ]
        return sorted(found, key=lambda each: each.number)[: min(limit, MOST_ROWS)]

    # Notices

    def add_notices(self, notices: Sequence[Notice]) -> None:
        tables = self._tables
        for notice in notices:
            if notice.id in tables.notices:
                raise Conflict(ALREADY_THERE)
            tables.notices[notice.id] = notice

    def save_notices(self, notices: Sequence[Notice]) -> None:
        tables = self._tables
        for notice in notices:
            if notice.id not in tables.notices:
                raise KeyError(notice.id)
            tables.notices[notice.id] = notice

    def notices(self, *, user: str | None, lease_id: str | None, current_only: bool, limit: int) -> list[Notice]:
        found = [
            notice
            for notice in self._now.notices.values()
            if (user is None or notice.user == user)
            and (lease_id is None or notice.lease_id == lease_id)
            and (not current_only or self._is_current(notice))
        ]
        found.sort(key=lambda notice: (notice.written_at_ms, notice.id), reverse=True)
        return found[: min(limit, MOST_ROWS)]

    def _is_current(self, notice: Notice) -> bool:
        lease = self._now.leases.get(notice.lease_id)
        return notice.is_current and lease is not None and lease.is_open

    # Activity

    def add_activity(self, lease_id: str, records: Sequence[Activity]) -> None:
        for record in records:
            self._tables.activity.setdefault((lease_id, record.minute_ms), record)

    def activity(self, lease_id: str, *, after_ms: int, limit: int) -> list[Activity]:
        of_lease = (record for (of, _), record in self._now.activity.items() if of == lease_id)
        found = sorted((record for record in of_lease if record.at_ms > after_ms), key=lambda each: each.minute_ms)
        return found[: min(limit, MOST_ROWS)]

    def quiet_leases(self, pool: str, policy: IdlePolicy, since_ms: int) -> list[str]:
        told: dict[str, list[Activity]] = {}
        for (lease_id, minute_ms), record in self._now.activity.items():
            if minute_ms >= minute_of(since_ms):
                told.setdefault(lease_id, []).append(record)
        return [
            lease.id
            for lease in self.open_leases(pool=pool)
            if lease.tier in policy.tiers
            and lease.id in told
            and all(is_quiet(record, lease, policy) for record in told[lease.id])
        ]

    def drop_activity(self, before_ms: int, limit: int) -> int:
        tables = self._tables
        old = sorted((minute_ms, lease_id) for lease_id, minute_ms in tables.activity if minute_ms < before_ms)
        for minute_ms, lease_id in old[:limit]:
            del tables.activity[lease_id, minute_ms]
        return len(old[:limit])

    # Audit

    def audit_head(self) -> ChainHead:
        return self._now.audit_head

    def append_audit(self, records: Sequence[AuditRecord]) -> None:
        tables = self._tables
        for record in records:
            if record.number in tables.audit:
                raise Conflict(ALREADY_THERE)
            tables.audit[record.number] = record
            tables.audit_head = ChainHead(record.number, record.mac)

    def audit_records(self, wanted: AuditFilter, *, after: int, limit: int, newest_first: bool) -> list[AuditRecord]:
        found = [
            record
            for record in self._now.audit.values()
            if (after == 0 or (record.number < after if newest_first else record.number > after))
            and (wanted.subjects is None or record.subject in wanted.subjects or record.actor in wanted.subjects)
            and (wanted.lease_id is None or record.lease_id == wanted.lease_id)
            and (wanted.action is None or record.action == wanted.action)
        ]
        found.sort(key=lambda record: record.number, reverse=newest_first)
        return found[: min(limit, MOST_ROWS)]

    # The rest

    def saved_answer(self, actor: str, key: str) -> SavedAnswer | None:
        return self._now.answers.get((actor, key))

    def save_answer(self, actor: str, key: str, answer: SavedAnswer) -> None:
        if (actor, key) in self._tables.answers:
            raise Conflict(ALREADY_THERE)
        self._tables.answers[actor, key] = answer

    def answers_of(self, actor: str, since_ms: int) -> tuple[int, int]:
        given = [answer.at_ms for (whose, _), answer in self._now.answers.items() if whose == actor]
        since = [at_ms for at_ms in given if at_ms >= since_ms]
        return len(since), min(since, default=0)

    def drop_answers(self, before_ms: int) -> int:
        tables = self._tables
        kept = {key: answer for key, answer in tables.answers.items() if answer.at_ms >= before_ms}
        dropped = len(tables.answers) - len(kept)
        tables.answers = kept
        return dropped

    def beat(self, name: str, at_ms: int) -> None:
        self._tables.beats[name] = at_ms

    def last_beat(self, name: str) -> int | None:
        return self._now.beats.get(name)


def _with_use(totals: _Totals, use: BucketUse) -> _Totals:
    index = bisect_left(totals, use.bucket_ms, key=lambda total: total[0])
    if index == len(totals) or totals[index][0] != use.bucket_ms:
        before = totals[index - 1][1] if index else ZERO
        totals = (*totals[:index], (use.bucket_ms, before), *totals[index:])
    later = ((bucket_ms, total + use.amount) for bucket_ms, total in totals[index:])
    return (*totals[:index], *later)


def _age(lease: Lease) -> tuple[int, str]:
    return (lease.requested_at_ms, lease.id)


def _wanted(lease: Lease, wanted: LeaseFilter) -> bool:
    return (
        (wanted.user is None or lease.user == wanted.user)
        and (wanted.account is None or lease.account == wanted.account)
        and (wanted.states is None or lease.state in wanted.states)
        and (wanted.since_ms is None or lease.ended_at_ms is None or lease.ended_at_ms >= wanted.since_ms)
    )
