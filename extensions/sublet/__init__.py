"""What a notebook on Sublet imports: what is left, at what price, until when; and fair warning before the end."""

from __future__ import annotations

from sublet import as_html, as_text, models  # noqa: F401 — the first two register how things show themselves
from sublet.client import keep, lease, quota, stop, usage
from sublet.dask import cluster
from sublet.errors import (
    DoesNotFit,
    LicenceNeeded,
    NoSuchModel,
    NotHere,
    NotInALease,
    Refused,
    SubletError,
    Unavailable,
)
from sublet.events import Notice
from sublet.leases import Lease
from sublet.magics import load_ipython_extension
from sublet.magics import register as _register
from sublet.notices import off_notice, on_notice
from sublet.quotas import Account, Limit, Quota
from sublet.usages import AccountUsage, Day, Usage

__all__ = [
    "Account",
    "AccountUsage",
    "Day",
    "DoesNotFit",
    "Lease",
    "LicenceNeeded",
    "Limit",
    "NoSuchModel",
    "NotHere",
    "NotInALease",
    "Notice",
    "Quota",
    "Refused",
    "SubletError",
    "Unavailable",
    "Usage",
    "cluster",
    "keep",
    "lease",
    "load_ipython_extension",
    "models",
    "off_notice",
    "on_notice",
    "quota",
    "stop",
    "usage",
]

_register()
