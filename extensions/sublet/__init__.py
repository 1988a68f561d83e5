"""What a notebook on Sublet imports: `sublet.quota()` shows what is left, at what price, until when."""

from __future__ import annotations

from sublet.client import quota
from sublet.errors import NotInALease, Refused, SubletError, Unavailable
from sublet.reading import Account, Lease, Limit, Quota

__all__ = [
    "Account",
    "Lease",
    "Limit",
    "NotInALease",
    "Quota",
    "Refused",
    "SubletError",
    "Unavailable",
    "quota",
]
