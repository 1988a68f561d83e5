"""What a notebook asks the platform, and what it may ask for: each is one request, or a few.

All raise NotInALease outside a lease, Unavailable where the platform doesn't answer, and Refused where it says no.
`timeout` is in seconds, for each request.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from sublet import fields
from sublet.asking import TIMEOUT_SECONDS, Surroundings, get, post, understood
from sublet.errors import Refused
from sublet.leases import Lease
from sublet.quotas import Quota
from sublet.usages import Usage

STOP_SECONDS = 10
INVALID = 422
"""The HTTP status of a moment that can't be taken."""


def quota(*, timeout: float = TIMEOUT_SECONDS) -> Quota:
    """What is left on each account that may pay for you, and this lease: its price, and until when it runs.

    In a notebook the result shows itself as tables; `print` it in a script. Its attributes are for programs, for
    example `sublet.quota().account.limit("gpu_seconds").left`.
    """
    return _quota(Surroundings.of(os.environ), timeout)


def lease(*, timeout: float = TIMEOUT_SECONDS) -> Lease:
    """The lease that this Python runs in: its price, until when it runs and why, GPU time and money so far.

    In a notebook the result shows itself as a table; `print` it in a script. Its attributes are for programs, for
    example `sublet.lease().seconds_left`.
    """
    around = Surroundings.of(os.environ)
    return _lease(get(around, _path(around), timeout))


def usage(*, timeout: float = TIMEOUT_SECONDS) -> Usage:
    """What was used this month of each account that may pay for you, by day; the account of this lease comes first.

    In a notebook the result shows itself as tables; `print` it in a script. Its attributes are for programs, for
    example `sublet.usage().account("group:lab").gpu_seconds`.
    """
    around = Surroundings.of(os.environ)
    quota = _quota(around, timeout)
    paying = quota.account
    ordered = sorted(quota.accounts, key=lambda each: each is not paying)
    documents = [_month(around, each.name, timeout) for each in ordered]
    with understood():
        return Usage.from_json(documents, quota.currency, datetime.now(UTC))


def stop(at: datetime | None = None, *, timeout: float = TIMEOUT_SECONDS) -> Lease:
    """Stop the server that this Python runs in: in ten seconds, or at a moment before its deadline. `keep` takes the
    latter back.

    A moment without a time zone is meant in this computer's. Before the end open documents are saved and functions of
    `sublet.on_notice` called: that is what the ten seconds are for.
    """
    around = Surroundings.of(os.environ)
    if at is not None:
        return _lease(post(around, f"{_path(around)}/stop", {"at": fields.rfc3339(at)}, timeout))
    return _stop_soon(around, timeout)


def _stop_soon(around: Surroundings, timeout: float) -> Lease:
    soon = datetime.now(UTC) + timedelta(seconds=STOP_SECONDS)
    try:
        return _lease(post(around, f"{_path(around)}/stop", {"at": fields.rfc3339(soon)}, timeout))
    except Refused as refused:
        if refused.status != INVALID:
            raise
    # It ends before that anyway, or the clocks here and there differ.
    lease = _lease(get(around, _path(around), timeout))
    if lease.deadline_at <= soon:
        return lease
    return _lease(post(around, f"{_path(around)}/stop", {}, timeout))


def keep(*, timeout: float = TIMEOUT_SECONDS) -> Lease:
    """Take back a stop that you have planned, or one because the server is idle.

    Refused where the deadline comes from something else: a quota, a limit, the owner of the GPUs, an admin.
    """
    around = Surroundings.of(os.environ)
    return _lease(post(around, f"{_path(around)}/keep", {}, timeout))


def _path(around: Surroundings) -> str:
    return f"/leases/{quote(around.lease_id, safe='')}"


def _quota(around: Surroundings, timeout: float) -> Quota:
    document = get(around, "/quota", timeout)
    with understood():
        return Quota.from_json(document, around.lease_id, datetime.now(UTC))


def _lease(document: Any) -> Lease:
    with understood():
        return Lease.from_json(document, datetime.now(UTC))


def _month(around: Surroundings, account: str, timeout: float) -> Any:
    """An account's usage since the first of the month. Which day it is there, the platform knows: no time zones need
    be installed here. Asked again where it is another day there, and once more where midnight passes meanwhile."""
    day, document = datetime.now(UTC).day, None
    for _ in range(3):
        document = get(around, f"/usage?account={quote(account, safe='')}&days={day}", timeout)
        with understood():
            there = fields.day(document["days"][-1]["date"]).day
        if there == day:
            break
        day = there
    return document
