"""When a server is ended and how hard, at every hour."""

from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.cluster.course import TICK_MS, Course

DEADLINE = 1_000_000


def course() -> Course:
    return Course(deadline_ms=DEADLINE, term_grace_ms=700, stop_grace_ms=5000)


def test_it_waits_until_the_deadline_then_asks_then_kills() -> None:
    made = course()
    assert made.heed(DEADLINE - 1, 10, stop_asked=False) == "wait"
    assert made.wait_ms(DEADLINE - 1, 10) == 1
    assert made.heed(DEADLINE, 11, stop_asked=False) == "terminate"
    assert made.wait_ms(DEADLINE + 600, 611) == 100
    assert made.heed(DEADLINE + 699, 710, stop_asked=False) == "wait"
    assert made.heed(DEADLINE + 700, 711, stop_asked=False) == "kill"
    assert made.heed(DEADLINE + 750, 761, stop_asked=False) == "kill"
    assert made.cause == "deadline"


def test_a_stop_gives_more_time_but_not_past_the_deadline() -> None:
    early = course()
    assert early.heed(DEADLINE - 60_000, 0, stop_asked=True) == "terminate"
    assert early.heed(DEADLINE - 55_001, 4999, stop_asked=False) == "wait"
    assert early.heed(DEADLINE - 55_000, 5000, stop_asked=False) == "kill"
    late = course()
    assert late.heed(DEADLINE - 1000, 0, stop_asked=True) == "terminate"
    assert late.heed(DEADLINE + 700, 1700, stop_asked=False) == "kill"
    assert (early.cause, late.cause) == ("stop", "stop")


def test_a_second_stop_changes_nothing() -> None:
    made = course()
    made.heed(0, 0, stop_asked=True)
    assert made.heed(1000, 1000, stop_asked=True) == "wait"
    assert made.heed(5000, 5000, stop_asked=True) == "kill"


def test_a_deadline_moved_far_into_the_past_still_leaves_a_moment() -> None:
    made = course()
    made.deadline_ms = 0
    assert made.heed(DEADLINE, 0, stop_asked=False) == "terminate"
    assert made.heed(DEADLINE + 199, 199, stop_asked=False) == "wait"
    assert made.heed(DEADLINE + 200, 200, stop_asked=False) == "kill"


def test_a_deadline_moved_out_too_late_saves_nobody() -> None:
    made = course()
    made.heed(DEADLINE, 0, stop_asked=False)
    made.deadline_ms += 3_600_000
    assert made.heed(DEADLINE + 700, 700, stop_asked=False) == "kill"


def test_a_wall_clock_set_back_after_the_deadline_does_not_lengthen_the_grace() -> None:
    made = course()
    made.heed(DEADLINE, 0, stop_asked=False)
    assert made.heed(DEADLINE - 3_600_000, 700, stop_asked=False) == "kill"


@given(
    late=st.integers(0, 400),
    stop_before=st.none() | st.integers(0, 10_000),
    ticks=st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_it_kills_within_a_second_of_the_deadline_whatever_happens(
    late: int, stop_before: int | None, ticks: list[int]
) -> None:
    """Each wait may come back late by some milliseconds; the first by up to 400."""
    made = course()
    now = DEADLINE - (stop_before or 0)
    if stop_before is not None:
        assert made.heed(now, now, stop_asked=True) == "terminate"
    now = max(now, DEADLINE) + late
    action = made.heed(now, now, stop_asked=False)
    for tick in ticks * 60:
        if action == "kill":
            break
        wait = made.wait_ms(now, now)
        assert 0 <= wait <= TICK_MS
        now += wait + tick
        action = made.heed(now, now, stop_asked=False)
    assert action == "kill"
    assert now < DEADLINE + 1000
