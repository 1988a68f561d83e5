"""How many reads of one quota the api answers in a second, against the hub's own reads of one user.

Both are asked at their own ports, past the proxy, with the same user's token and by the same load generator
(`tests.bench.load`), in turns. The platform is a real one, idle otherwise.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Limit, Result, median, ms
from tests.bench.load import CONNECTIONS
from tests.fixtures.platform import ROOT, Platform

AT_LEAST = 8.0
USER = "alice"
MARGIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Round:
    """One round's figures."""

    per_second: float
    p99_seconds: float
    busy: float
    """Share of one core that the generator took."""


def run(*, quick: bool) -> Result:
    rounds, seconds = (2, 2.0) if quick else (5, 6.0)
    with _platform() as platform, _trivial_server() as trivial:
        token = platform.sign_in(USER).client.headers["Authorization"]
        urls = {
            "GET /hub/api/quotas/users/{name}": f"http://127.0.0.1:{platform.port + 82}/hub/api/quotas/users/{USER}",
            "GET /hub/api/users/{name}": f"http://127.0.0.1:{platform.port + 81}/hub/api/users/{USER}",
        }
        measured: dict[str, list[Round]] = {name: [] for name in urls}
        for number in range(rounds):
            for name in list(urls)[:: 1 if number % 2 else -1]:
                expected = '"subject"' if "quotas" in name else '"name"'
                measured[name].append(_ask(urls[name], seconds, token, expected))
        most = _ask(trivial, seconds, token, "")
    return _result(measured, most, rounds, seconds)


def _result(measured: dict[str, list[Round]], most: Round, rounds: int, seconds: float) -> Result:
    rates = {name: median([each.per_second for each in of]) for name, of in measured.items()}
    api, hub = rates.values()
    rows = [
        (
            name,
            f"{rates[name]:.0f}",
            f"{min(each.per_second for each in of):.0f} to {max(each.per_second for each in of):.0f}",
            ms(median([each.p99_seconds for each in of]), 1),
            f"{median([each.busy for each in of]):.0%}",
        )
        for name, of in measured.items()
    ]
    rows.append(
        ("a server that does nothing", f"{most.per_second:.0f}", "", ms(most.p99_seconds, 1), f"{most.busy:.0%}")
    )
    return Result(
        title="Reading one quota, against the hub's reading of one user",
        limits=(Limit("ratio of requests per second", api / hub, AT_LEAST, at_least=True),),
        columns=("request", "per second (median)", "rounds", "p99 in ms", "generator's share of a core"),
        rows=tuple(rows),
        samples=f"{rounds} rounds of {seconds:g} s each, in turns, {CONNECTIONS} kept-alive connections",
        notes=(
            "The last row is the most that the load generator can do: it is not what limits the others.",
            f"Each request waits for the {CONNECTIONS - 1} others: p99 is a queue's, not one request's.",
        ),
    )


@contextmanager
def _platform() -> Iterator[Platform]:
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        platform = Platform(folder).start()
        try:
            yield platform
        finally:
            platform.stop()


@contextmanager
def _trivial_server() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.load", "--serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
        finally:
            server.kill()


def _ask(url: str, seconds: float, token: str, expected: str) -> Round:
    """One round; every answer must be a 200, and the first must hold what is expected."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load", url, str(seconds)],
        cwd=ROOT,
        input=json.dumps({"Authorization": token}),
        capture_output=True,
        text=True,
        timeout=seconds + MARGIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{url}: {done.stderr}"
    counted = json.loads(done.stdout)
    assert counted["answers"], f"{url} gave no answer"
    assert not counted["refused"], f"{url} refused {counted['refused']} of {counted['answers']} requests"
    assert expected in counted["first_body"], counted["first_body"]
    return Round(
        per_second=counted["answers"] / counted["seconds"],
        p99_seconds=counted["p99_seconds"],
        busy=counted["busy_seconds"] / counted["seconds"],
    )
