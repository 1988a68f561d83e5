"""The one place that turns what the domain knows into what goes over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, cast

from pydantic import JsonValue

from sublet_hub.api.models.activity import ActivityModel, GpuModel
from sublet_hub.api.models.catalog import (
    ChoiceModel,
    IdlePolicyModel,
    OfferModel,
    PlatformModel,
    PoolModel,
    RefusalModel,
    TierPrice,
)
from sublet_hub.api.models.fields import moment, moment_or_none
from sublet_hub.api.models.leases import DeadlineLimit, GrantedLease, LeaseDetail, LeaseModel
from sublet_hub.api.models.problem import PROBLEM_BASE, BoundLimit
from sublet_hub.api.models.quotas import LimitModel, QuotaChangeModel, QuotaModel
from sublet_hub.api.models.records import AuditModel, DayModel, NoticeModel, UsageModel
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.activity import Activity
from sublet_hub.domain.amounts import MS_PER_SECOND, PARTS_PER_GPU, GpuParts, GpuTime, gpu_seconds, gpus_milli
from sublet_hub.domain.audit import AuditRecord
from sublet_hub.domain.errors import PublicError
from sublet_hub.domain.flavors import IdlePolicy
from sublet_hub.domain.lease import Binding, Lease, LeaseState
from sublet_hub.domain.notices import Notice
from sublet_hub.domain.offers import Choice, DayUse, Offer, PlatformState, PoolUse
from sublet_hub.domain.quota import LimitState
from sublet_hub.storage.quotas import QuotaChange, QuotaReading

RUNNING = frozenset({LeaseState.ACTIVE, LeaseState.ENDING})


def platform(state: PlatformState) -> PlatformModel:
    return PlatformModel(
        version=version("sublet-hub"),
        flavors=state.flavors,
        meter_beat_at=moment_or_none(state.meter_beat_at_ms),
        meter_current=state.meter_current,
    )


def lease(each: Lease, now_ms: int) -> LeaseModel:
    return LeaseModel(**_lease_fields(each, now_ms))


def lease_detail(each: Lease, now_ms: int, *, devices: bool) -> LeaseDetail:
    return LeaseDetail(**_lease_fields(each, now_ms), devices=list(each.devices) if devices else None)


def granted_lease(each: Lease, models: Sequence[str], now_ms: int) -> GrantedLease:
    """`models`: the gated ones that its server may read."""
    held_ms = each.held_until_ms - each.posted_until_ms
    return GrantedLease(
        **_lease_fields(each, now_ms),
        devices=list(each.devices),
        held_seconds=held_ms // MS_PER_SECOND,
        models=list(models),
    )


def _lease_fields(each: Lease, now_ms: int) -> dict[str, Any]:
    used = each.posted
    if each.state in RUNNING and now_ms > each.posted_until_ms:
        used += each.use_between(each.posted_until_ms, now_ms)
    return {
        "id": each.id,
        "user": each.user,
        "account": str(each.account),
        "flavor": each.flavor,
        "tier": each.tier.value,
        "kind": each.kind,
        "state": each.state.value,
        "requested_at": moment(each.requested_at_ms),
        "started_at": moment_or_none(each.started_at_ms),
        "ended_at": moment_or_none(each.ended_at_ms),
        "deadline_at": moment(each.deadline.at_ms),
        "gpus_milli": gpus_milli(each.parts),
        "gpu_seconds": gpu_seconds(used.gpu_time),
        "cost_microunits": used.money,
        "currency": each.currency,
        "end_reason": each.end_reason.value if each.end_reason else None,
        "simulated": each.simulated,
        "server_name": each.server_name,
        "pool": each.pool,
        "deadline_reason": each.deadline.reason.value,
        "deadline_limit": _deadline_limit(each.deadline.binding),
        "price_microunits_per_gpu_hour": each.price_micros_per_gpu_hour,
    }


def _deadline_limit(binding: Binding | None) -> DeadlineLimit | None:
    if binding is None:
        return None
    return DeadlineLimit(
        subject=binding.subject,
        what=binding.what,
        limit=binding.limit,
        window=binding.window,
        flavor=binding.flavor,
        resets_at=moment_or_none(binding.resets_at_ms),
    )


def quota(reading: QuotaReading) -> QuotaModel:
    return QuotaModel(**_quota_fields(reading))


def quota_change(change: QuotaChange, reading: QuotaReading, now_ms: int) -> QuotaChangeModel:
    return QuotaChangeModel(**_quota_fields(reading), leases=[lease(each, now_ms) for each in change.moved])


def _quota_fields(reading: QuotaReading) -> dict[str, Any]:
    return {
        "subject": str(reading.subject),
        "own": reading.own,
        "limits": [_limit(state) for state in reading.states],
        "time_zone": reading.quota.time_zone,
    }


def _limit(state: LimitState) -> LimitModel:
    """In the limit's own unit: what is used and held is rounded up, what is left down, so that none is promised."""
    return LimitModel(
        what=state.limit.what.value,
        limit=state.limit.limit,
        window=state.limit.window,
        flavor=state.limit.flavor,
        used=state.in_units(state.used, up=True),
        held=state.in_units(state.held, up=True),
        left=state.in_units(state.left),
        resets_at=moment_or_none(state.resets_at_ms),
    )


def offer(each: Offer, currency: str) -> OfferModel:
    flavor, pool = each.flavor, each.pool
    tiers = [
        TierPrice(
            tier=tier.value,
            price_microunits_per_gpu_hour=price,
            price_microunits_per_hour=price * flavor.parts // PARTS_PER_GPU,
        )
        for tier, price in flavor.prices.items()
    ]
    return OfferModel(
        flavor=flavor.name,
        title=flavor.title,
        gpu_model=pool.gpu_model,
        gpus_milli=gpus_milli(flavor.parts),
        gpus=flavor.device_count,
        cpus=flavor.cpus,
        memory_bytes=flavor.memory_bytes,
        gpu_memory_bytes=flavor.gpu_memory_bytes,
        pool=pool.name,
        simulated=pool.simulated,
        currency=currency,
        free=each.free,
        tiers=tiers,
        choices=[_choice(choice) for choice in each.choices],
    )


def _choice(each: Choice) -> ChoiceModel:
    return ChoiceModel(
        account=str(each.account),
        tier=each.tier.value,
        available=each.problem is None,
        lasts_seconds=None if each.lasts_ms is None else each.lasts_ms // MS_PER_SECOND,
        held_seconds=(each.hold_ms or 0) // MS_PER_SECOND,
        problem=None if each.problem is None else refusal(each.problem),
        fits=each.fits,
        fits_problem=None if each.fits_problem is None else refusal(each.fits_problem),
    )


def refusal(error: PublicError) -> RefusalModel:
    subject = error.detail_fields.get("subject")
    return RefusalModel(
        type=PROBLEM_BASE + error.type_name,
        title=error.title,
        detail=error.message,
        retry_at=moment_or_none(error.retry_at_ms),
        limit=bound_limit(error),
        subject=None if subject is None else str(subject),
    )


def bound_limit(error: PublicError) -> BoundLimit | None:
    """The limit that a refusal names, if it names one."""
    limit = error.detail_fields.get("limit")
    return None if limit is None else BoundLimit.model_validate(limit)


def pool(use: PoolUse) -> PoolModel:
    capacity, leased = use.pool.capacity, use.leased_parts
    return PoolModel(
        name=use.pool.name,
        gpu_model=use.pool.gpu_model,
        capacity_gpus_milli=gpus_milli(capacity),
        leased_gpus_milli=gpus_milli(GpuParts(leased)),
        free_gpus_milli=gpus_milli(GpuParts(max(0, capacity - leased))),
        simulated=use.pool.simulated,
        leases=use.leases,
        idle=None if use.pool.idle is None else _idle_policy(use.pool.idle),
    )


def _idle_policy(policy: IdlePolicy) -> IdlePolicyModel:
    return IdlePolicyModel(
        after_minutes=policy.after_minutes,
        utilisation_percent=policy.utilisation_percent,
        memory_percent=policy.memory_percent,
        tiers=sorted(tier.value for tier in policy.tiers),
    )


def activity(each: Activity) -> ActivityModel:
    return ActivityModel(
        at=moment(each.at_ms),
        seconds=each.seconds,
        gpus=[
            GpuModel(
                device=gpu.device,
                utilisation_percent=gpu.utilisation_percent,
                memory_used_bytes=gpu.memory_used_bytes,
                memory_total_bytes=gpu.memory_total_bytes,
            )
            for gpu in each.gpus
        ],
        kernels=each.kernels,
        kernels_busy=each.kernels_busy,
    )


def usage(account: Subject, currency: str, time_zone: str, days: Sequence[DayUse]) -> UsageModel:
    return UsageModel(
        account=str(account),
        currency=currency,
        time_zone=time_zone,
        days=[
            DayModel(date=day.date, gpu_seconds=gpu_seconds(GpuTime(day.gpu_time)), cost_microunits=day.money)
            for day in days
        ],
        gpu_seconds=gpu_seconds(GpuTime(sum(day.gpu_time for day in days))),
        cost_microunits=sum(day.money for day in days),
    )


def notice(each: Notice) -> NoticeModel:
    return NoticeModel(
        id=each.id,
        lease_id=each.lease_id,
        user=each.user,
        reason=each.reason.value,
        message=each.message,
        deadline_at=moment(each.deadline_at_ms),
        written_at=moment(each.written_at_ms),
        withdrawn_at=moment_or_none(each.withdrawn_at_ms),
        lead_seconds=each.lead_seconds,
    )


def audit_record(each: AuditRecord) -> AuditModel:
    return AuditModel(
        number=each.number,
        at=moment(each.at_ms),
        actor=each.actor,
        action=each.action,
        subject=each.subject,
        lease_id=each.lease_id,
        before=cast(JsonValue, each.before),
        after=cast(JsonValue, each.after),
        reason=each.reason,
    )
