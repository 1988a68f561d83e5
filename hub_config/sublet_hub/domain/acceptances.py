"""Acceptances of licences: a model under a gated licence may be read and called only by those who accepted it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.models import Licence, ModelCatalogue

ACCEPTED = "licence.accepted"
"""The action of the audit record that each acceptance has."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """That somebody accepted a version of a licence, for themself or for a group's account. Never taken back.

    `number` is that of its audit record, `accepted_by` who did it (`user:alice`).
    """

    number: int
    subject: Subject
    licence: str
    version: str
    accepted_by: str
    at_ms: int


def accepts(licence: Licence, accepted: Collection[Acceptance]) -> tuple[Subject, ...]:
    """Who, of those whose acceptances these are, accepted the licence in the version that it has now."""
    return tuple(each.subject for each in accepted if (each.licence, each.version) == (licence.name, licence.version))


def readable(catalogue: ModelCatalogue, accepted: Collection[Acceptance]) -> tuple[str, ...]:
    """Names of the gated models in the store whose licence is among those accepted: what a lease is shown."""
    return tuple(name for name in catalogue.gated_names if accepts(catalogue.models[name].licence, accepted))
