"""The state machine is its table, and use is cut at buckets without losing anything."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.lease import TRANSITIONS, LeaseState, moved
from sublet_hub.domain.ledger import by_bucket
from sublet_hub.domain.windows import BUCKET_MS
from tests.fixtures.factories import NOW, lease


@pytest.mark.parametrize(("before", "after"), list(itertools.product(LeaseState, LeaseState)))
def test_only_listed_transitions_happen(before: LeaseState, after: LeaseState) -> None:
    if (before, after) in TRANSITIONS:
        assert moved(lease(state=before), after).state is after
    else:
        with pytest.raises(ValueError, match="can't go from"):
            moved(lease(state=before), after)


def test_a_closed_lease_holds_nothing() -> None:
    assert lease().held != ZERO
    assert lease(state=LeaseState.ENDED).held == ZERO
    assert lease(state=LeaseState.VOID).held == ZERO


@given(start=st.integers(0, 10**8), length=st.integers(0, 10**8), parts=st.sampled_from([1000, 7000, 56000]))
def test_buckets_add_up_to_the_whole(start: int, length: int, parts: int) -> None:
    one = lease(parts=parts)
    uses = list(by_bucket(one, NOW + start, NOW + start + length))
    assert sum((use.amount for use in uses), Amount()) == one.use_between(NOW + start, NOW + start + length)
    assert all(use.bucket_ms % BUCKET_MS == 0 for use in uses)
    assert len({use.bucket_ms for use in uses}) == len(uses)
