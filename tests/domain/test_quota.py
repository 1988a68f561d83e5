"""Quotas: canonical forms, refusals that name the field, and PATCH."""

import pytest

from sublet_hub.domain.amounts import LARGEST_LIMIT
from sublet_hub.domain.errors import InvalidRequest
from sublet_hub.domain.quota import Limit, Quota, What, check_quota, merged
from tests.fixtures.factories import state

FLAVORS = frozenset({"gpu-1x"})


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        (Limit(What.GPU_SECONDS, -1, "day"), "limits[0].limit"),
        (Limit(What.GPU_SECONDS, LARGEST_LIMIT + 1, "day"), "limits[0].limit"),
        (Limit(What.GPU_SECONDS, 1), "limits[0].window"),
        (Limit(What.GPU_SECONDS, 1, "fortnight"), "limits[0].window"),
        (Limit(What.GPUS, 1, "day"), "limits[0].window"),
        (Limit(What.GPUS, 1, None, "h200"), "limits[0].flavor"),
    ],
)
def test_a_bad_limit_is_refused_by_its_field(limit: Limit, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_quota(Quota((limit,)), FLAVORS)
    assert refused.value.detail_fields["field"] == field


def test_the_same_limit_twice_is_refused() -> None:
    twice = (Limit(What.GPUS, 1), Limit(What.GPUS, 2, "total"))
    with pytest.raises(InvalidRequest, match="twice"):
        check_quota(Quota(twice), FLAVORS)


def test_too_many_limits_are_refused() -> None:
    many = tuple(Limit(What.GPU_SECONDS, n, f"P{n + 1}D") for n in range(51))
    with pytest.raises(InvalidRequest, match="at most 50"):
        check_quota(Quota(many), FLAVORS)


def test_a_limit_at_once_needs_no_window() -> None:
    assert check_quota(Quota((Limit(What.LEASES, 2, "total"),)), FLAVORS).limits == (Limit(What.LEASES, 2),)


def test_patching_replaces_adds_and_removes_by_key() -> None:
    base = Quota((Limit(What.GPU_SECONDS, 10, "day"), Limit(What.GPUS, 2)), "Europe/Berlin")
    patched = merged(base, (Limit(What.GPU_SECONDS, 20, "day"), Limit(What.LEASES, 1)), (Limit(What.GPUS, 0),), None)
    assert patched == Quota((Limit(What.GPU_SECONDS, 20, "day"), Limit(What.LEASES, 1)), "Europe/Berlin")


def test_left_is_never_negative() -> None:
    assert state(What.GPUS, 1, used=3 * 7000).left == 0
