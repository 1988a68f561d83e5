"""Windows: calendar ones in their time zone, rolling ones to a bucket, and bad ones refused with the field named."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.errors import InvalidRequest
from sublet_hub.domain.windows import BUCKET_MS, Window, check_time_zone, check_window, window_at


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


NOON = ms("2026-11-18T12:07:00+00:00")  # a Wednesday


@pytest.mark.parametrize(
    ("window", "zone", "start", "end"),
    [
        ("day", "UTC", "2026-11-18T00:00+00:00", "2026-11-19T00:00+00:00"),
        ("week", "UTC", "2026-11-16T00:00+00:00", "2026-11-23T00:00+00:00"),
        ("month", "UTC", "2026-11-01T00:00+00:00", "2026-12-01T00:00+00:00"),
        ("day", "Asia/Kathmandu", "2026-11-18T00:00+05:45", "2026-11-19T00:00+05:45"),
        ("day", "Pacific/Auckland", "2026-11-19T00:00+13:00", "2026-11-20T00:00+13:00"),
    ],
)
def test_calendar_windows(window: str, zone: str, start: str, end: str) -> None:
    assert window_at(window, zone, NOON) == Window(ms(start), ms(end))


def test_a_day_with_a_clock_change_has_its_true_length() -> None:
    window = window_at("day", "Europe/Berlin", ms("2026-10-25T12:00+01:00"))
    assert window.start_ms is not None
    assert window.end_ms is not None
    assert window.end_ms - window.start_ms == 25 * 3_600_000


def test_rolling_windows_reach_back_to_a_whole_bucket() -> None:
    assert window_at("P30D", "UTC", NOON) == Window(ms("2026-10-19T12:00+00:00"), None)
    assert window_at("P1M", "UTC", NOON) == Window(ms("2026-10-18T12:00+00:00"), None)


def test_total_has_no_edges() -> None:
    assert window_at("total", "UTC", NOON) == Window(None, None)


@pytest.mark.parametrize("bad", ["", "year", "30", "P0D", "PT5M", "-P3D", "P9999Y", "P99999999999D", "daily", "P1D;"])
def test_bad_windows_are_refused(bad: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_window(bad, field="limits[0].window")
    assert refused.value.detail_fields["field"] == "limits[0].window"


@pytest.mark.parametrize("bad", ["", "Mars/Base", "../etc/passwd", "/etc/localtime", "UTC\0"])
def test_bad_time_zones_are_refused(bad: str) -> None:
    with pytest.raises(InvalidRequest, match="time zone"):
        check_time_zone(bad)


@given(
    at=st.integers(ms("2020-01-01T00:00+00:00"), ms("2040-01-01T00:00+00:00")),
    window=st.sampled_from(["day", "week", "month", "P7D", "PT1H"]),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]),
)
def test_a_moment_lies_in_its_window_and_edges_are_on_buckets(at: int, window: str, zone: str) -> None:
    found = window_at(window, zone, at)
    assert found.start_ms is not None
    assert found.start_ms <= at
    assert found.start_ms % BUCKET_MS == 0
    if found.end_ms is not None:
        assert at < found.end_ms
        assert found.end_ms % BUCKET_MS == 0
        assert window_at(window, zone, found.end_ms).start_ms == found.end_ms
    assert datetime.fromtimestamp(found.start_ms / 1000, UTC).year >= 2019
