"""What the cluster says, as sentences for people."""

from __future__ import annotations

import pytest

from sublet_hub.hub import pod_wording


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ('0/1 nodes are available: 1 persistentvolumeclaim "home-alice" not found.', pod_wording.HOME_STEP),
        ("0/9 nodes are available: 9 pod has unbound immediate PersistentVolumeClaims.", pod_wording.HOME_STEP),
        ("0/9 nodes are available: 9 Insufficient cpu.", "Waiting for a machine with room for this flavor"),
    ],
)
def test_a_home_that_is_being_made_is_not_told_as_a_lack_of_room(message: str, told: str) -> None:
    assert pod_wording.step({"reason": "FailedScheduling", "message": message}) == told
