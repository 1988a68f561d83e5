"""What a bench hands back, and the little arithmetic that the benches share."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Limit:
    """A promise in one number: `measured` is at most `bound`, or at least."""

    what: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        return (
            f"{self.what} {self.measured:.3g}, {'at least' if self.at_least else 'at most'} {self.bound:g}: {verdict}"
        )


@dataclass(frozen=True, slots=True)
class Result:
    """One bench's figures: the limits it is held to, and a table with units in its heads."""

    title: str
    limits: tuple[Limit, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    samples: str
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """All of it in one line."""
        said = "; ".join(map(str, self.limits)) or "no limit is set"
        cells = "; ".join(f"{row[0]}: {', '.join(_named(self.columns, row))}" for row in self.rows)
        return f"{self.title}: {said} | {cells} | {self.samples}"

    @property
    def holds(self) -> bool:
        return all(limit.holds for limit in self.limits)


@dataclass(frozen=True, slots=True)
class Record:
    """A result with where and when it was measured; what docs/performance.json keeps."""

    result: Result
    machine: Mapping[str, str] = field(default_factory=dict)
    at: str = ""
    load_before: float = 0.0
    """Processes that wanted to run in the minute before the bench: what else the machine was doing."""
    took_seconds: int = 0

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, object]) -> Record:
        fields = dict(said)
        result = fields.pop("result")
        assert isinstance(result, dict)
        limits = tuple(Limit(**limit) for limit in result.pop("limits"))
        tuples = {name: tuple(result.pop(name)) for name in ("columns", "notes")}
        rows = tuple(tuple(row) for row in result.pop("rows"))
        return cls(Result(limits=limits, rows=rows, **tuples, **result), **fields)  # type: ignore[arg-type]  # our own


def _named(columns: Sequence[str], row: Sequence[str]) -> list[str]:
    return [f"{name} {cell}" for name, cell in zip(columns[1:], row[1:], strict=True)]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def load() -> float:
    return round(os.getloadavg()[0], 2)


def machine() -> dict[str, str]:
    """What the figures were measured on, as far as it matters to them."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ms(seconds: float, digits: int = 2) -> str:
    return f"{seconds * 1000:.{digits}f}"
