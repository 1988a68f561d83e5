"""Turns what the domain knows of models and allowances into what goes over the wire."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sublet_hub.api.models.allowances import AllowanceLimit, AllowanceModel, CallableModel, CallerModel
from sublet_hub.api.models.fields import moment, moment_or_none
from sublet_hub.api.models.model_catalogue import (
    AcceptanceModel,
    LicenceDetail,
    LicenceState,
    ModelDay,
    ModelDetail,
    ModelSummary,
    ModelUseModel,
    ServedModel,
)
from sublet_hub.domain.acceptances import Acceptance, accepts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.allowances import ModelUse
from sublet_hub.domain.flavors import Catalog
from sublet_hub.domain.models import Licence, Model, ModelCatalogue, Serving, format_of
from sublet_hub.domain.quota import LimitState
from sublet_hub.storage.allowing import Allowed
from sublet_hub.storage.reporting import ModelDayUse


def allowance(allowed: Allowed) -> AllowanceModel:
    each = allowed.allowance
    return AllowanceModel(
        id=each.id,
        user=each.user,
        account=str(each.account),
        tokens=each.held.tokens,
        money_microunits=each.held.money,
        expires_at=moment(each.expires_at_ms),
        open=each.is_open,
        posts=each.posts,
        limits=[_limit(state) for state in allowed.states],
    )


def _limit(state: LimitState) -> AllowanceLimit:
    return AllowanceLimit(
        subject="default" if state.inherited else str(state.subject),
        what=state.limit.what.value,
        limit=state.limit.limit,
        left=state.in_units(state.left),
        window=state.limit.window or "",
        resets_at=moment_or_none(state.resets_at_ms),
    )


def caller(
    user: str,
    account: Subject,
    lease_id: str | None,
    catalogue: ModelCatalogue,
    accepted: Collection[Acceptance],
    valid_seconds: int,
) -> CallerModel:
    """`accepted` are the acceptances that count for these calls."""
    models = [
        CallableModel(name=model.name, accepted=not model.gated or bool(accepts(model.licence, accepted)))
        for model in catalogue.served
    ]
    return CallerModel(user=user, account=str(account), lease_id=lease_id, models=models, valid_seconds=valid_seconds)


def model(
    each: Model, catalog: Catalog, accepted: Collection[Acceptance], counting: Collection[Subject], *, on_disk: bool
) -> ModelSummary:
    """`counting` are the accounts whose acceptance counts for the asker."""
    fields = _fields(each, catalog, on_disk=on_disk)
    return ModelSummary(**fields, licence=LicenceState(**_licence(each.licence, accepted, counting)))


def model_detail(
    each: Model,
    catalog: Catalog,
    accepted: Collection[Acceptance],
    counting: Collection[Subject],
    *,
    on_disk: bool,
    text: str | None,
) -> ModelDetail:
    fields = _fields(each, catalog, on_disk=on_disk)
    return ModelDetail(**fields, licence=LicenceDetail(**_licence(each.licence, accepted, counting), text=text))


def _fields(each: Model, catalog: Catalog, *, on_disk: bool) -> dict[str, Any]:
    return {
        "name": each.name,
        "title": each.title,
        "family": each.family,
        "task": each.task,
        "description": each.description,
        "repository": each.repository,
        "revision": each.revision,
        "parameters": each.parameters,
        "dtype": each.dtype,
        "memory_bytes": each.memory_bytes,
        "size_bytes": each.size_bytes,
        "loader": each.loader,
        "formats": sorted({found.value for file in each.files if (found := format_of(file.path)) is not None}),
        "on_disk": on_disk,
        "served": None if each.serving is None else _served(each.serving, catalog.currency),
        "flavors": [
            flavor.name
            for flavor in catalog.flavors.values()
            if each.memory_bytes <= (flavor.gpu_memory_bytes or flavor.memory_bytes)
        ],
        "example": each.example,
    }


def _served(serving: Serving, currency: str) -> ServedModel:
    return ServedModel(
        context_tokens=serving.context_tokens,
        output_tokens_max=serving.output_tokens_max,
        input_microunits_per_million_tokens=serving.input_microunits_per_million_tokens,
        output_microunits_per_million_tokens=serving.output_microunits_per_million_tokens,
        currency=currency,
    )


def _licence(each: Licence, accepted: Collection[Acceptance], counting: Collection[Subject]) -> dict[str, Any]:
    by = accepts(each, accepted)
    return {
        "name": each.name,
        "title": each.title,
        "version": each.version,
        "url": each.url,
        "gated": each.gated,
        "accepted": not each.gated or any(subject in counting for subject in by),
        "accepted_by": [str(subject) for subject in by],
    }


def acceptance(each: Acceptance) -> AcceptanceModel:
    return AcceptanceModel(
        number=each.number,
        account=str(each.subject),
        licence=each.licence,
        version=each.version,
        accepted_by=each.accepted_by,
        at=moment(each.at_ms),
    )


def model_use(
    account: Subject, currency: str, time_zone: str, since_ms: int, days: Sequence[ModelDayUse]
) -> ModelUseModel:
    total = sum((day.use for day in days), ModelUse())
    return ModelUseModel(
        account=str(account),
        currency=currency,
        time_zone=time_zone,
        since=moment(since_ms),
        days=[ModelDay(date=day.date, model=day.model, **_counts(day.use)) for day in days],
        **_counts(total),
    )


def _counts(use: ModelUse) -> dict[str, int]:
    return {
        "calls": use.calls,
        "input_tokens": use.input_tokens,
        "output_tokens": use.output_tokens,
        "cost_microunits": use.money,
    }
