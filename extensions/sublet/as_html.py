"""A quota as HTML for a notebook. Colours are the notebook's own, so that it is right in light and dark themes."""

from __future__ import annotations

from html import escape

from sublet import wording
from sublet.reading import Account, Lease, Limit, Quota

_CELL = "text-align:left;padding:0.15em 1em 0.15em 0"
_BAR = (
    "display:flex;width:9em;height:0.5em;border-radius:0.25em;overflow:hidden;"
    "border:1px solid currentColor;opacity:0.75"
)


def quota_html(quota: Quota) -> str:
    blocks = [_lease(quota.lease, quota)] if quota.lease else []
    paying = quota.account
    for account in sorted(quota.accounts, key=lambda each: each is not paying):
        note = ", which pays for this lease" if quota.lease and account is paying else ""
        blocks.append(_account(account, quota, note))
    return f"<div>{''.join(blocks) or f'<p>{escape(wording.EMPTY)}</p>'}</div>"


def _lease(lease: Lease, quota: Quota) -> str:
    utc = f"{lease.deadline_at:%Y-%m-%d %H:%M:%S} UTC"
    rows = (
        ("Lease", escape(wording.flavor(lease))),
        ("Until", f'<span title="{utc}">{escape(wording.until(lease, quota.read_at))}</span>'),
        ("Price", escape(f"{wording.price(lease)}; {wording.money(lease.cost, lease.currency)} so far")),
    )
    cells = "".join(
        f'<tr><th scope="row" style="{_CELL}">{name}</th><td style="{_CELL}">{text}</td></tr>' for name, text in rows
    )
    return f'<table style="margin:0 0 0.75em 0">{cells}</table>'


def _account(account: Account, quota: Quota, note: str) -> str:
    title = f'<div style="font-weight:bold;margin:0.25em 0">Account {escape(account.name + note)}</div>'
    if not account.limits:
        return f"{title}<p>{escape(wording.NO_LIMITS).capitalize()}.</p>"
    name, *others = wording.HEADINGS
    head = "".join(f'<th scope="col" style="{_CELL}">{text}</th>' for text in (name, "", *others))
    body = "".join(_row(limit, quota) for limit in account.limits)
    return f'{title}<table style="margin:0 0 0.75em 0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(limit: Limit, quota: Quota) -> str:
    name, *others = wording.row(limit, quota.currency, quota.read_at)
    cells = "".join(f'<td style="{_CELL}">{escape(text)}</td>' for text in others)
    return (
        f'<tr><th scope="row" style="{_CELL};font-weight:normal">{escape(name)}</th>'
        f'<td style="{_CELL}">{_bar(limit)}</td>{cells}</tr>'
    )


def _bar(limit: Limit) -> str:
    """What is used (full) and held (half), drawn in the text's own colour. The figures stand beside it."""
    if limit.what == "lease_seconds" or limit.limit == 0:
        return ""
    used = min(100, 100 * limit.used // limit.limit)
    held = min(100 - used, 100 * limit.held // limit.limit)
    parts = f'<i style="width:{used}%;background:currentColor"></i>'
    parts += f'<i style="width:{held}%;background:currentColor;opacity:0.45"></i>'
    return f'<div aria-hidden="true" style="{_BAR}">{parts}</div>'
