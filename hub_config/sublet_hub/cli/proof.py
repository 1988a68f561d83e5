"""The proof behind `sublet audit verify`: the audit chain against its key and anchors, and every account's ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.progress import Progress, TaskID

from sublet_hub.domain.audit import AuditRecord, find_fault
from sublet_hub.storage import accepting, audit, verification
from sublet_hub.storage.books import Books


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and each fault as a sentence."""

    records: int
    anchors: int
    accounts: int
    faults: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "whole": not self.faults,
            "records": self.records,
            "anchors": self.anchors,
            "accounts": self.accounts,
            "faults": list(self.faults),
        }

    def to_text(self) -> str:
        looked = (
            f"{self.records:,} audit records (against {self.anchors:,} notes outside the database)"
            f" and the ledgers of {self.accounts:,} accounts"
        )
        if not self.faults:
            return f"Whole: {looked}."
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        return f"Not whole: {looked}.\n{lines}\nCompare with a backup to see what was changed."


def verify_all(books: Books, anchors: Mapping[int, str], progress: Progress) -> Report:
    """Look at everything; in pages, so that no history is too long for memory."""
    with books.store.transaction(write=False) as tx:
        head = tx.audit_head().number
        task = progress.add_task("Audit records", total=head)
        fault = find_fault(_counted(audit.records(tx), progress, task), books.audit_key, anchors, head)
        unaccepted = accepting.find_fault(tx)
    faults = [f"audit: {fault.what}"] if fault else []
    faults += [f"audit: {unaccepted}"] if unaccepted else []
    accounts = list(verification.accounts(books.store))
    task = progress.add_task("Ledgers", total=len(accounts))
    for account in accounts:
        faults += verification.verify_account(books.store, account)
        progress.advance(task)
    return Report(head, len(anchors), len(accounts), tuple(faults))


def _counted(records: Iterator[AuditRecord], progress: Progress, task: TaskID) -> Iterator[AuditRecord]:
    for record in records:
        yield record
        progress.advance(task)
