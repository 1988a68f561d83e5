"""Promise 4 for calls: gateways that ask at the same instant, with threads and processes of their own, can't hold the
same tokens twice, nor money that leases hold; and no post is booked twice."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from sublet_hub import storage
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.allowances import AllowanceRequest, CallCounts, Post
from sublet_hub.domain.amounts import Amount, Micros
from sublet_hub.domain.errors import CallsQuotaExceeded, QuotaExceeded
from sublet_hub.domain.flavors import Tier
from sublet_hub.storage import allowing, leasing, quotas
from sublet_hub.storage.verification import verify_account
from tests.fixtures.books import books, limit

LAB = accounts.group("lab")
THREADS, PROCESSES = 6, 2
EACH = 4
"""Requests of a thread, one after the other."""


def ask(url: str) -> Counter[str]:
    """One gateway: its threads ask for 1,000 tokens and 600 micro-units each time; how often they got them."""
    store = storage.open_store(url)
    of, outcomes = books(store), Counter[str]()
    counting, ready = threading.Lock(), threading.Barrier(THREADS)
    wanted = AllowanceRequest(
        "alice", LAB, Amount(money=Micros(600), tokens=1000), Amount(money=Micros(600), tokens=1000), 60_000
    )

    def run() -> None:
        ready.wait(60)
        for _ in range(EACH):
            try:
                allowed = allowing.allow(of, wanted)
                outcome = "granted"
                for _ in range(2):
                    allowing.post(of, allowed.allowance.id, Post(1, (CallCounts("tiny-llama", 1, 10, 0),)))
            except CallsQuotaExceeded:
                outcome = "refused"
            with counting:
                outcomes[outcome] += 1

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    store.close()
    return outcomes


def test_gateways_at_once_hold_the_last_tokens_once(database_url: str) -> None:
    store = storage.open_store(database_url)
    of = books(store)
    limit(of)
    limit(of, LAB, model_tokens=(20_000, "day"), money_microunits=(100_000, "day"))
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as processes:
        outcomes = sum((done.result(300) for done in [processes.submit(ask, database_url) for _ in range(PROCESSES)]),
                       Counter[str]())  # fmt: skip
    assert outcomes == {"granted": 20, "refused": PROCESSES * THREADS * EACH - 20}
    tokens, money = quotas.read(of, LAB).states
    assert (tokens.used, tokens.held, tokens.left) == (20 * 10, 20 * 990, 0)
    assert (money.used, money.held) == (20 * 2, 20 * 598)
    assert verify_account(store, LAB) == []
    store.close()


def test_leases_and_allowances_at_once_hold_the_money_once(database_url: str) -> None:
    """Money for half an hour of a lease: each lease holds ten minutes, each allowance a tenth of a minute."""
    store = storage.open_store(database_url)
    of = books(store, devices=64)
    limit(of)
    limit(of, LAB, money_microunits=(1_000_000, "day"))
    ready, outcomes, counting = threading.Barrier(16), Counter[str](), threading.Lock()
    some = Amount(money=Micros(33_000), tokens=1)

    def run(n: int) -> None:
        ready.wait(60)
        for _ in range(EACH):
            try:
                if n % 2:
                    wanted = LeaseRequest(f"user{n}", LAB, "gpu-1x", Tier.GUARANTEED, "worker", groups=("lab",))
                    leasing.request(of, wanted, actor="test")
                else:
                    allowing.allow(of, AllowanceRequest("alice", LAB, some, some, 60_000))
                outcome = "lease" if n % 2 else "allowance"
            except QuotaExceeded:
                outcome = "refused"
            with counting:
                outcomes[outcome] += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    (money,) = quotas.read(of, LAB).states
    assert money.used + money.held <= 1_000_000
    assert outcomes["refused"] > 0
    assert outcomes["lease"] + outcomes["allowance"] > 0
    assert verify_account(store, LAB) == []
    store.close()
