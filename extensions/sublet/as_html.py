"""What is shown, as HTML for a notebook. Colours are the notebook's own, so that it is right in light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from types import MappingProxyType

from sublet import showing, wording
from sublet.leases import Lease
from sublet.quotas import Account, Limit, Quota
from sublet.usages import AccountUsage, Day, Usage

_CELL = "text-align:left;padding:0.15em 1em 0.15em 0"
_WHOLE_CELL = f"{_CELL};white-space:nowrap"  # else a line may end within `10 GPU-h`
_TABLE = '<table style="margin:0 0 0.75em 0;color:inherit;font-size:inherit">'
_BAR = (
    "display:flex;width:9em;height:0.5em;border-radius:0.25em;overflow:hidden;"
    "border:1px solid currentColor;opacity:0.75"
)


NO_HINTS: Mapping[str, str] = MappingProxyType({})


@showing.as_html.register
def quota_html(quota: Quota) -> str:
    blocks = [_lease(wording.short_lease_rows(quota.lease, quota.read_at), quota.lease)] if quota.lease else []
    paying = quota.account
    for account in sorted(quota.accounts, key=lambda each: each is not paying):
        note = ", which pays for this lease" if quota.lease and account is paying else ""
        blocks.append(_account(account, quota, note))
    return _whole(blocks)


@showing.as_html.register
def lease_html(lease: Lease) -> str:
    return _whole([_lease(wording.lease_rows(lease), lease)])


@showing.as_html.register
def usage_html(usage: Usage) -> str:
    return _whole([_used(each, usage.currency) for each in usage.accounts])


def facts(rows: Iterable[tuple[str, str]], title: str = "", hints: Mapping[str, str] = NO_HINTS) -> str:
    """Names and what they are, one below the other. `hints`: what the pointer shows on the values of these names."""
    caption = f'<caption style="{_CELL};font-weight:bold">{escape(title)}</caption>' if title else ""
    cells = "".join(
        f'<tr><th scope="row" style="{_CELL}">{escape(name)}</th><td style="{_CELL}">'
        + (f'<span title="{escape(hints[name])}">{escape(text)}</span>' if name in hints else escape(text))
        + "</td></tr>"
        for name, text in rows
    )
    return f"{_TABLE}{caption}{cells}</table>"


def _whole(blocks: Sequence[str]) -> str:
    shown = "".join(blocks) or paragraph(wording.EMPTY)
    return f'<div style="overflow-x:auto">{shown}</div>'


def _lease(rows: Iterable[tuple[str, str]], lease: Lease) -> str:
    return facts(rows, hints={"Until": f"{lease.deadline_at:%Y-%m-%d %H:%M:%S} UTC"})


def _title(text: str) -> str:
    return f'<div style="font-weight:bold;margin:0.25em 0">{escape(text)}</div>'


def _account(account: Account, quota: Quota, note: str) -> str:
    title = _title(f"Account {account.name}{note}")
    if not account.limits:
        return f"{title}<p>{escape(wording.NO_LIMITS).capitalize()}.</p>"
    rows = ((wording.row(limit, quota.currency, quota.read_at), _limit_bar(limit)) for limit in account.limits)
    return title + _table(wording.HEADINGS, rows)


def _used(account: AccountUsage, currency: str) -> str:
    title = _title(wording.usage_title(account, currency))
    days = wording.used_days(account)
    most = max((day.gpu_seconds for day in days), default=0)
    rows = ((wording.day_row(day, currency), _day_bar(day, most)) for day in days)
    return title + _table(wording.DAY_HEADINGS, rows) if days else title


def _table(headings: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]) -> str:
    """Rows with their bar in the second column."""
    first, *others = headings
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(text)}</th>' for text in (first, "", *others))
    body = "".join(_row(*row) for row in rows)
    return f"{_TABLE}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def plain_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows without bars, the first cell of each its heading."""
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(text)}</th>' for text in headings)
    body = "".join(
        f'<tr><th scope="row" style="{_WHOLE_CELL};font-weight:normal">{escape(first)}</th>'
        + "".join(f'<td style="{_CELL}">{escape(text)}</td>' for text in others)
        + "</tr>"
        for first, *others in rows
    )
    return _whole([f"{_TABLE}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"])


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _row(texts: Sequence[str], bar: str) -> str:
    name, *others = texts
    cells = "".join(f'<td style="{_WHOLE_CELL}">{escape(text)}</td>' for text in others)
    return (
        f'<tr><th scope="row" style="{_WHOLE_CELL};font-weight:normal">{escape(name)}</th>'
        f'<td style="{_CELL}">{bar}</td>{cells}</tr>'
    )


def _limit_bar(limit: Limit) -> str:
    """What is used (full) and held (half)."""
    if limit.what == "lease_seconds" or limit.limit == 0:
        return ""
    used = min(100, 100 * limit.used // limit.limit)
    return bar(used, min(100 - used, 100 * limit.held // limit.limit))


def _day_bar(day: Day, most: int) -> str:
    return bar(100 * day.gpu_seconds // most) if most else ""


def bar(full: int, half: int = 0) -> str:
    """Shares in percent, drawn in the text's own colour. The figures stand beside it."""
    parts = f'<i style="width:{full}%;background:currentColor"></i>'
    parts += f'<i style="width:{half}%;background:currentColor;opacity:0.45"></i>'
    return f'<div aria-hidden="true" style="{_BAR}">{parts}</div>'
