"""Keep the figures of docs/performance.json, and write them into docs/performance.md between its two marks.

python -m tests.bench.page     write the page again from the figures that are kept
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.bench.figures import Record
from tests.fixtures.platform import ROOT

FIGURES = ROOT / "docs" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- Figures begin: made by `make bench` from performance.json -->"
END = "<!-- Figures end -->"


def read() -> dict[str, Record]:
    """The figures of every bench's last whole run, by the bench's name."""
    if not FIGURES.exists():
        return {}
    kept: dict[str, dict[str, object]] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return {name: Record.from_json(said) for name, said in kept.items()}


def keep(name: str, record: Record) -> None:
    """Keep a bench's figures in the place of its last ones."""
    kept = read() | {name: record}
    said = {name: kept[name].as_json() for name in sorted(kept)}
    FIGURES.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write() -> None:
    """Make the page say what is kept."""
    PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), read()), encoding="utf-8")


def with_figures(page: str, records: Mapping[str, Record]) -> str:
    """The page with its part between the marks made anew."""
    head, _, rest = page.partition(BEGIN)
    _, mark, tail = rest.partition(END)
    assert mark, f"{PAGE} lacks its marks"
    sections = [_section(records[name]) for name in sorted(records, key=lambda name: records[name].result.title)]
    return f"{head}{BEGIN}\n\n{''.join(sections)}{END}{tail}"


def _section(record: Record) -> str:
    result = record.result
    lines = [f"### {result.title}", ""]
    lines += [f"- **{limit}**" for limit in result.limits]
    lines += ["", _row(result.columns), _row(["---"] + ["--:"] * (len(result.columns) - 1))]
    lines += [_row(row) for row in result.rows]
    machine = ", ".join([*list(record.machine.values())[:-1], f"Python {record.machine['python']}"])
    lines += ["", f"{result.samples}. {' '.join(result.notes)}".strip(), ""]
    where = f"on {machine}, whose load was {record.load_before} when it began"
    lines += [f"Measured {record.at} in {record.took_seconds} s {where}."]
    return "\n".join(lines) + "\n\n"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    write()
