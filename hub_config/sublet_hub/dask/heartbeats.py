"""What a scheduler says of itself. It is run by its user, so that none of it is believed unseen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SCHEDULER = re.compile(r"tls://127\.0\.0\.1:(\d{1,5})")
API = re.compile(r"http://127\.0\.0\.1:(\d{1,5})")
LISTS = ("active_workers", "closing_workers", "closed_workers")


class NotBelievedError(ValueError):
    """A heartbeat says what no scheduler that we started would. The message is for its log."""


def checked(said: Mapping[str, Any], known: frozenset[str], most_workers: int) -> dict[str, Any]:
    """A heartbeat of which only what may be so is left: addresses on this machine, known workers, no dashboard.

    Whoever is at an address is told nothing but how many workers to have, and with the cluster's own token; the
    dashboard isn't reached by an address. NotBelievedError where there is no sense in it.
    """
    count = said.get("count")
    if type(count) is not int or count < 0:
        raise NotBelievedError(f"count is no number of workers: {str(count)[:20]!r}")
    return {
        "scheduler_address": _address(said, "scheduler_address", SCHEDULER),
        "api_address": _address(said, "api_address", API),
        "dashboard_address": "",
        "count": min(count, most_workers),
        **{name: _names(said, name, known) for name in LISTS},
    }


def _address(said: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    address = said.get(name)
    found = form.fullmatch(address) if isinstance(address, str) else None
    if found is None or not 1024 <= int(found[1]) <= 65535:
        raise NotBelievedError(f"{name} is no address of a scheduler here: {str(address)[:60]!r}")
    return found[0]


def _names(said: Mapping[str, Any], name: str, known: frozenset[str]) -> list[str]:
    names = said.get(name)
    if not isinstance(names, list):
        raise NotBelievedError(f"{name} is no list")
    return sorted(known.intersection(each for each in names if isinstance(each, str)))
