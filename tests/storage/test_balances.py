from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sublet_hub.domain.accounts import user
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.ledger import BucketUse
from sublet_hub.domain.windows import BUCKET_MS
from sublet_hub.storage.store import Store
from tests.storage.examples import amount

FLAVORS = (None, "h100-1", "cpu")
_names = itertools.count()

units = st.integers(-(10**12), 10**15)
uses = st.lists(
    st.tuples(st.integers(0, 5), st.builds(amount, units, units, units)).map(
        lambda pair: BucketUse(pair[0] * BUCKET_MS, pair[1])
    ),
    max_size=4,
)
posts = st.lists(st.tuples(st.sampled_from(FLAVORS), uses), max_size=8)


def summed(posted: Sequence[tuple[str | None, list[BucketUse]]], flavor: str | None, before_ms: int) -> Amount:
    """What the running totals must come to, added up one by one."""
    total = ZERO
    for of, parts in posted:
        for use in parts:
            if (flavor is None or of == flavor) and use.bucket_ms < before_ms:
                total = total + use.amount
    return total


@given(posts)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_running_totals_equal_the_sum_in_whatever_order_use_is_posted(
    store: Store, posted: list[tuple[str | None, list[BucketUse]]]
) -> None:
    account = user(f"u{next(_names)}")
    for flavor, parts in posted:
        with store.transaction(write=True) as tx:
            tx.lock(str(account))
            tx.add_use(account, flavor, parts)
    with store.transaction(write=False) as tx:
        for flavor in FLAVORS:
            for moment in (0, 1, 2 * BUCKET_MS, 2 * BUCKET_MS + 1, 10 * BUCKET_MS):
                assert tx.used_before(account, flavor, moment) == summed(posted, flavor, moment)
            assert tx.used_in_all(account, flavor) == summed(posted, flavor, 10**15)


def test_one_accounts_use_is_not_anothers(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.add_use(user("alice"), "cpu", iter([BucketUse(0, amount(5, 6, 7))]))
        assert tx.used_in_all(user("alice"), None) == amount(5, 6, 7)
        assert tx.used_in_all(user("alic"), None) == ZERO
        assert tx.used_in_all(user("alice"), "h100-1") == ZERO
