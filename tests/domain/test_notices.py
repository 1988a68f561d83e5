"""Which notice is due when."""

import pytest

from sublet_hub.domain.lease import Deadline, EndReason, LeaseState
from sublet_hub.domain.notices import due_lead, message
from tests.fixtures.factories import NOW, lease

LEADS = (300, 60)


@pytest.mark.parametrize(
    ("left_ms", "lead"), [(300_001, None), (300_000, 300), (60_001, 300), (60_000, 60), (-1, 60)]
)
def test_the_shortest_lead_that_is_reached_is_due(left_ms: int, lead: int | None) -> None:
    near = lease(deadline=Deadline(NOW + left_ms, EndReason.QUOTA))
    assert due_lead(near, NOW, LEADS) == lead


def test_nobody_is_warned_of_their_own_stop_or_before_the_start() -> None:
    assert due_lead(lease(deadline=Deadline(NOW, EndReason.USER)), NOW, LEADS) is None
    assert due_lead(lease(deadline=Deadline(NOW, EndReason.QUOTA), state=LeaseState.GRANTED), NOW, LEADS) is None


def test_the_message_says_why() -> None:
    assert "quota runs out" in message(lease(deadline=Deadline(NOW, EndReason.QUOTA)))
