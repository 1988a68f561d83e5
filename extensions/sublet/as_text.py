"""A quota as plain text, for terminals and `print`."""

from __future__ import annotations

from sublet import wording
from sublet.reading import Account, Quota


def quota_text(quota: Quota) -> str:
    blocks = [_lease(quota)] if quota.lease else []
    paying = quota.account
    for account in sorted(quota.accounts, key=lambda each: each is not paying):
        note = ", which pays for this lease" if quota.lease and account is paying else ""
        blocks.append(_account(account, quota, note))
    return "\n\n".join(blocks) if blocks else wording.EMPTY


def _lease(quota: Quota) -> str:
    lease = quota.lease
    assert lease is not None
    lines = (
        ("Lease", wording.flavor(lease)),
        ("Until", wording.until(lease, quota.read_at)),
        ("Price", f"{wording.price(lease)}; {wording.money(lease.cost, lease.currency)} so far"),
    )
    return "\n".join(f"{name:<7}{text}" for name, text in lines)


def _account(account: Account, quota: Quota, note: str) -> str:
    title = f"Account {account.name}{note}"
    if not account.limits:
        return f"{title}: {wording.NO_LIMITS}"
    rows = [wording.HEADINGS, *(wording.row(limit, quota.currency, quota.read_at) for limit in account.limits)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(wording.HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([title, *(f"  {line}" for line in lines)])
