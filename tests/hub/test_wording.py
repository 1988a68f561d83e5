"""Amounts, times and limits as people read them."""

from __future__ import annotations

import pytest

from sublet_hub.hub import wording
from sublet_hub.hub.messages import Limit


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0.00 USD"),
        (2_490_000, "2.49 USD"),
        (312_500, "0.3125 USD"),
        (1, "0.000001 USD"),
        (1_234_567_890_000, "1,234,567.89 USD"),
        (-500_000, "−0.50 USD"),
    ],
)
def test_money(micros: int, text: str) -> None:
    assert wording.money(micros, "USD") == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (600, "10 min"),
        (659, "10 min"),
        (3600, "1 h"),
        (34_800, "9 h 40 min"),
        (243_600, "2 d 19 h"),
        (604_800, "7 d"),
    ],
)
def test_duration(seconds: int, text: str) -> None:
    assert wording.duration(seconds).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("devices", "milli", "gib", "text"),
    [
        (0, 0, 0, ""),
        (1, 1000, 80, "1 × 80 GiB"),
        (4, 4000, 80, "4 × 80 GiB"),
        (2, 2000, 0, "2"),
        (1, 142, 10, "1/7 GPU, 10 GiB"),
        (1, 143, 10, "1/7 GPU, 10 GiB"),
        (1, 429, 40, "3/7 GPU, 40 GiB"),
        (2, 286, 10, "2 × 1/7 GPU, 10 GiB"),
        (1, 500, 0, "0.5 GPU"),
    ],
)
def test_gpus(devices: int, milli: int, gib: int, text: str) -> None:
    assert wording.gpus(devices, milli, gib * 2**30).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (Limit(what="gpu_seconds", limit=36_000, window="week"), "10 GPU-hours per week"),
        (Limit(what="gpu_seconds", limit=36_000, window="P30D"), "10 GPU-hours in any 30 days"),
        (Limit(what="gpu_seconds", limit=36_000, window="PT12H"), "10 GPU-hours in any PT12H"),
        (Limit(what="gpu_seconds", limit=3_601, window="day"), "3,601 GPU-seconds per day"),
        (Limit(what="gpu_seconds", limit=0, window="total"), "0 GPU-hours in total"),
        (Limit(what="money_microunits", limit=50_000_000, window="month"), "50.00 USD per month"),
        (Limit(what="gpus", limit=2), "2 GPUs at once"),
        (Limit(what="leases", limit=1, flavor="cpu"), "1 server at once on cpu"),
        (Limit(what="lease_seconds", limit=43_200), "12 h per server"),
        (Limit(what="model_tokens", limit=1_000_000, window="day"), "1,000,000 model tokens per day"),
    ],
)
def test_limits(limit: Limit, text: str) -> None:
    assert wording.limit(limit, "USD").replace("\u00a0", " ") == text


def test_whose_a_limit_or_an_account_is() -> None:
    assert wording.whose("user:alice", "alice") == "your"
    assert wording.whose("user:bob", "alice") == "bob’s"
    assert wording.whose("group:lab", "alice") == "group lab’s"
    assert wording.whose("default", "alice") == wording.whose(None, "alice") == "the default"
    assert wording.account("user:alice", "alice") == "Your own account"
    assert wording.account("group:a:b", "alice") == "Group a:b"
