"""Amounts as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.cli import units
from sublet_hub.cli.units import LimitWish, UnitsError


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("gpu_seconds=10h/week", LimitWish("gpu_seconds", 36000, "week", None)),
        ("gpu_seconds=36000/P30D", LimitWish("gpu_seconds", 36000, "P30D", None)),
        ("gpu_seconds=1.5h/day", LimitWish("gpu_seconds", 5400, "day", None)),
        ("gpus=2", LimitWish("gpus", 2, None, None)),
        ("gpus@h100-1x=1", LimitWish("gpus", 1, None, "h100-1x")),
        ("gpus=none", LimitWish("gpus", None, None, None)),
        ("gpu_seconds=none/week", LimitWish("gpu_seconds", None, "week", None)),
        ("lease_seconds=1d12h", LimitWish("lease_seconds", 129_600, None, None)),
        ("money=12.50/month", LimitWish("money_microunits", 12_500_000, "month", None)),
        ("money=$12.50/month", LimitWish("money_microunits", 12_500_000, "month", None)),
        ("money_microunits=7/total", LimitWish("money_microunits", 7, "total", None)),
        (" model_tokens=1000000/day ", LimitWish("model_tokens", 1_000_000, "day", None)),
    ],
)
def test_limits_as_people_write_them(text: str, wish: LimitWish) -> None:
    assert units.parse_limit(text) == wish


@pytest.mark.parametrize(
    "text",
    [
        "", "gpus", "gpus=", "=2", "gpus=-1", "gpus=1.5", "gpus=two", "cpus=2", "gpu_seconds=10y/week",
        "gpu_seconds=0.0001s/day", "gpu_seconds=h/day", "money=abc/month", "money=0.0000001/month",
        "money=-1/month", "money=NaN/month", "money=Infinity/month", "gpus@=2", "gpus==2", "leases=²",
    ],
)  # fmt: skip
def test_what_is_no_limit_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UnitsError):
        units.parse_limit(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (4800, "1 h 20 min"),
        (36000, "10 h"),
        (273_600, "3 d 4 h"),
        (86_401, "1 d"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert units.duration(seconds) == text


@given(st.integers(0, 10**9))
def test_a_duration_is_never_rounded_up(seconds: int) -> None:
    shown = units.parse_duration(units.duration(seconds).replace(" ", ""))
    assert shown <= seconds
    assert seconds - shown < max(60, seconds // 24 + 1) or seconds - shown < 3600


@pytest.mark.parametrize(
    ("micros", "currency", "text"),
    [
        (3_200_000, "USD", "$3.20"),
        (0, "EUR", "€0.00"),
        (1, "USD", "< $0.01"),
        (12_500_000, "CHF", "12.50 CHF"),
        (1_234_567_890_000, "USD", "$1,234,567.89"),
        (500_000_000, "JPY", "¥500"),
        (1, "JPY", "< ¥1"),
    ],
)
def test_money(micros: int, currency: str, text: str) -> None:
    assert units.money(micros, currency) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 GPU-h"), (59, "59 GPU-s"), (3599, "59 GPU-min"), (4500, "1.25 GPU-h"), (36000, "10 GPU-h")],
)
def test_gpu_time(seconds: int, text: str) -> None:
    assert units.gpu_hours(seconds) == text


def test_gpus() -> None:
    assert [units.gpus(milli) for milli in (0, 143, 1000, 2500)] == ["0", "0.143", "1", "2.5"]


def test_moments_are_told_as_near_as_needed() -> None:
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    shown = [units.moment(now + timedelta(hours=hours), now, UTC) for hours in (2, 26, 24 * 9)]
    assert shown == ["14:00", "Tue 14:00", "2026-12-02 12:00"]
    assert units.distance(now + timedelta(seconds=4800), now) == "in 1 h 20 min"
    assert units.distance(now - timedelta(minutes=5), now) == "5 min ago"
    assert units.distance(now, now) == "now"


def test_sizes() -> None:
    assert [units.size(count) for count in (2**20, 3 * 2**30 + 2**28)] == ["1 MiB", "3.2 GiB"]
