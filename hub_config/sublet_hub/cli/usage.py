"""`sublet usage`: what an account used, by day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click
from rich.table import Table
from rich.text import Text

from sublet_hub.cli import units
from sublet_hub.cli.client import API, Client
from sublet_hub.cli.exits import UsageProblem
from sublet_hub.cli.options import Output, table, with_platform
from sublet_hub.cli.quota import parse_subject
from sublet_hub.cli.readings import ModelDay, ModelUse, Usage, read, read_members

BAR_CELLS = 30


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("account", nargs=-1)
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How many days back.")
@with_platform
def usage(client: Client, output: Output, account: tuple[str, ...], days: int) -> None:
    """Show what an account used by day, and tokens by model: a user (`alice`), or a group's account (`group lab`).

    Without an account: your own.
    """
    params: dict[str, str | int] = {}
    if account:
        kind, name = parse_subject(account)
        if kind == "default":
            raise UsageProblem("The default is a quota, not an account; name a user or a group.")
        params["account"] = f"{kind}:{name}"
    document = read_members(client.get(f"{API}/usage", {**params, "days": days}))
    since = datetime.now(UTC) - timedelta(days=days - 1)
    models = read_members(client.get(f"{API}/model-use", {**params, "since": since.isoformat()}))
    output.show(
        {**document, "models": models["days"]},
        lambda: _tables(read(Usage, document), read(ModelUse, models), days),
    )


def _tables(reading: Usage, models: ModelUse, days: int) -> Iterator[Table | Text]:
    if not reading.gpu_seconds and not reading.cost_microunits and not models.days:
        yield Text(f"{reading.account} used nothing in the last {days} days.")
        return
    rows = table(
        "Day", "GPU time", "", "Cost",
        title=f"{reading.account}, the last {days} days (days begin in {reading.time_zone})",
        right=("GPU time", "Cost"),
    )  # fmt: skip
    most = max((day.gpu_seconds for day in reading.days), default=0)
    for day in reading.days:
        if day.gpu_seconds or day.cost_microunits:
            rows.add_row(
                f"{day.date:%a} {day.date}",
                units.gpu_hours(day.gpu_seconds),
                Text("█" * max(1, round(BAR_CELLS * day.gpu_seconds / max(1, most))), style="green"),
                units.money(day.cost_microunits, reading.currency),
            )
    yield rows
    if models.days:
        yield _by_model(reading, models)
    yield Text.assemble(
        "In all ", (units.gpu_hours(reading.gpu_seconds), "bold"), " for ",
        (units.money(reading.cost_microunits, reading.currency), "bold"), ".",
    )  # fmt: skip


def _by_model(reading: Usage, models: ModelUse) -> Table:
    """What was used of each model in all of the time; what it cost is in the days' cost as well."""
    rows = table(
        "Model", "Calls", "Tokens in", "Tokens out", "Cost",
        title="Calls of models",
        right=("Calls", "Tokens in", "Tokens out", "Cost"),
    )  # fmt: skip
    by_model: dict[str, list[ModelDay]] = {}
    for day in models.days:
        by_model.setdefault(day.model, []).append(day)
    for model, used in sorted(by_model.items()):
        rows.add_row(
            model,
            f"{sum(day.calls for day in used):,}",
            f"{sum(day.input_tokens for day in used):,}",
            f"{sum(day.output_tokens for day in used):,}",
            units.money(sum(day.cost_microunits for day in used), reading.currency),
        )
    return rows
