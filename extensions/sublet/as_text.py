"""What is shown, as plain text: for terminals and `print`."""

from __future__ import annotations

from collections.abc import Sequence

from sublet import showing, wording
from sublet.leases import Lease
from sublet.quotas import Account, Quota
from sublet.usages import AccountUsage, Usage


@showing.as_text.register
def quota_text(quota: Quota) -> str:
    blocks = [facts(wording.short_lease_rows(quota.lease, quota.read_at))] if quota.lease else []
    paying = quota.account
    for account in sorted(quota.accounts, key=lambda each: each is not paying):
        note = ", which pays for this lease" if quota.lease and account is paying else ""
        blocks.append(_account(account, quota, note))
    return "\n\n".join(blocks) if blocks else wording.EMPTY


@showing.as_text.register
def lease_text(lease: Lease) -> str:
    return facts(wording.lease_rows(lease))


@showing.as_text.register
def usage_text(usage: Usage) -> str:
    return "\n\n".join(_used(each, usage.currency) for each in usage.accounts) or wording.EMPTY


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and what they are, one below the other."""
    width = max(len(name) for name, _ in rows) + 1
    return "\n".join(f"{name:<{width}} {text}" for name, text in rows)


def _account(account: Account, quota: Quota, note: str) -> str:
    title = f"Account {account.name}{note}"
    if not account.limits:
        return f"{title}: {wording.NO_LIMITS}"
    rows = [wording.row(limit, quota.currency, quota.read_at) for limit in account.limits]
    return "\n".join([title, *table(wording.HEADINGS, rows)])


def _used(account: AccountUsage, currency: str) -> str:
    title = wording.usage_title(account, currency)
    rows = [wording.day_row(day, currency) for day in wording.used_days(account)]
    return "\n".join([title, *table(wording.DAY_HEADINGS, rows)]) if rows else title


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the cells below their headings, all indented."""
    lines = [headings, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    return ["  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
