"""What an API server can do that not all can: asked of it, never assumed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

NATIVE_SIDECARS_SINCE: Final = (1, 29)
"""Init containers with `restartPolicy: Always`, on by default (KEP-753)."""

PROBE_GRACE_SINCE: Final = (1, 25)
"""`terminationGracePeriodSeconds` of a probe, on by default (KEP-2238). Earlier the pod's own counts."""

_LEADING_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Of one API server. Kubelets may be up to three minor versions older; one that knows no native sidecars never
    starts a pod that has one, so that nothing runs unguarded there."""

    native_sidecars: bool
    probe_grace: bool


def capabilities_of(major: str, minor: str) -> Capabilities:
    """From `major` and `minor` of `GET /version`; some providers answer `29+`. ValueError for what is no version."""
    version = _number(major), _number(minor)
    return Capabilities(
        native_sidecars=version >= NATIVE_SIDECARS_SINCE,
        probe_grace=version >= PROBE_GRACE_SINCE,
    )


def _number(text: str) -> int:
    found = _LEADING_DIGITS.match(text)
    if found is None:
        raise ValueError(f"the API server calls its version {text!r}, which has no number")
    return int(found[0])
