"""What a scheduler says of itself is believed only as far as it may be so."""

from __future__ import annotations

import pytest

from sublet_hub.dask.heartbeats import NotBelievedError, checked

KNOWN = frozenset({"w1", "w2"})
SAID: dict[str, object] = {
    "scheduler_address": "tls://127.0.0.1:40001",
    "api_address": "http://127.0.0.1:40002",
    "dashboard_address": "http://127.0.0.1:40003",
    "count": 2,
    "active_workers": ["w1"],
    "closing_workers": [],
    "closed_workers": ["w2"],
}


def test_what_a_scheduler_of_ours_says_is_taken_over_but_for_its_dashboard() -> None:
    assert checked(SAID, KNOWN, 10) == {**SAID, "dashboard_address": ""}


def test_no_more_workers_are_wanted_than_a_cluster_may_have() -> None:
    assert checked({**SAID, "count": 10**9}, KNOWN, 10)["count"] == 10


def test_workers_that_we_did_not_start_are_passed_over() -> None:
    said = checked({**SAID, "active_workers": ["w1", "w9", 7, None]}, KNOWN, 10)
    assert said["active_workers"] == ["w1"]


@pytest.mark.parametrize(
    "changed",
    [
        {"scheduler_address": "tcp://127.0.0.1:40001"},
        {"scheduler_address": "tls://10.0.0.7:40001"},
        {"scheduler_address": "tls://127.0.0.1:80"},
        {"scheduler_address": "tls://127.0.0.1:99999"},
        {"api_address": "http://169.254.169.254:8080"},
        {"api_address": "http://127.0.0.1:40002/hub/api"},
        {"api_address": "http://127.0.0.1:40002\n"},
        {"api_address": None},
        {"count": -1},
        {"count": True},
        {"count": "2"},
        {"active_workers": "w1"},
        {"closed_workers": None},
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(NotBelievedError):
        checked({**SAID, **changed}, KNOWN, 10)
