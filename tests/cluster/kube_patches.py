"""What the two kinds of patches do to an object."""

from __future__ import annotations

from typing import Any

from tests.cluster.kube_state import Answer, Json


def merged(old: Any, change: Any) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return change
    made = dict(old) if isinstance(old, dict) else {}
    for key, value in change.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def json_patched(item: Json, operations: list[Json]) -> Json:
    """RFC 6902: test, add, replace and remove."""
    for each in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in each["path"].split("/")[1:]]
        at: Any = item
        for part in way:
            at = at[int(part) if isinstance(at, list) else part]
        key: Any = last
        if isinstance(at, list):
            key = len(at) if last == "-" else int(last)
        if each["op"] == "test":
            known = at.get(key) if isinstance(at, dict) else at[key] if key < len(at) else None
            if known != each["value"]:
                raise Answer(422, "the server rejected our request: a test failed")
        elif each["op"] == "remove":
            del at[key]
        elif each["op"] == "add" and isinstance(at, list):
            at.insert(key, each["value"])
        else:
            at[key] = each["value"]
    return item
