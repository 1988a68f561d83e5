"""docs/cli.md, made from the commands themselves, so that no command or option is undocumented."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

import click

from sublet_hub.cli.doctor import BOOK_CHECKS, CHECKS, REMOTE_CHECKS
from sublet_hub.cli.main import COMMANDS, main

HEAD = """\
# The command `sublet`

<!-- Made by `make docs` from hub_config/sublet_hub/cli; edit it there. -->

## Which platform, and as whom

Beside a platform (in the folder that holds `.sublet`, or below it, or where `SUBLET_DATA` says) the commands find its
address and its admin token by themselves. From anywhere else give `--url`, the public address, and set `SUBLET_TOKEN`
to a hub token, which people make for themselves at `/hub/token`. Where `SUBLET_TOKEN` is set it always is the token
that is shown. The admin token of a data folder is never sent to an address that was given by hand.

All commands go through the HTTP API, like any other client, but those that are the platform: `up`, which is all of
it, or `migrate`, `proxy`, `api`, `meter` and `gateway`, which are its parts; `doctor`, which without `--url` looks at
the installation itself, since that may be why the api doesn't answer; `models`, which works on the store's files; and
`audit verify`, which reads the database, since an auditor must not have to trust the api.

## Amounts

Limits are written as `WHAT[@FLAVOR]=AMOUNT[/WINDOW]`.

| what | amount | window |
| --- | --- | --- |
| `gpu_seconds` | GPU-seconds, or a length of time: `36000`, `10h`, `1d12h`, `90min` | needed |
| `money` | an amount of the platform's currency: `50`, `12.50` | needed |
| `money_microunits` | millionths of it: `50000000` | needed |
| `model_tokens` | a whole number | needed |
| `gpus` | GPUs at once, a whole number | none |
| `leases` | leases at once, a whole number | none |
| `lease_seconds` | seconds per lease, or a length of time | none |

A window is `day`, `week`, `month`, `total`, or an ISO 8601 duration that rolls, such as `P30D`. The amount `none`
takes the limit with the same what, flavor and window away.

## `--json`

prints what the API answered, unchanged: amounts are integers in the unit of their name, times RFC 3339 in UTC. Lists
are whole: all pages are read. Nothing else is printed on standard output.

## Exit status

| status | means |
| --- | --- |
| 0 | done |
| 1 | a problem was found (`doctor`, `audit verify`), or the platform refused what was asked |
| 2 | the command line, or a value in it, is wrong; nothing was done. `sublet up`: it is running already |
| 3 | no platform was found, or it (or a part of it) does not answer |
| 4 | not allowed: no token, an unknown one, or one that may not do this |

An error is one sentence on standard error, with what to do about it on the next line.
"""


def cli_page() -> str:
    """The whole of docs/cli.md."""
    context = click.Context(main, info_name="sublet")
    return "\n".join((HEAD, *_commands(main, context, tuple(COMMANDS)), _checks()))


def _commands(group: click.Group, context: click.Context, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield _entry(command, inner)
        if isinstance(command, click.Group):
            yield from _commands(command, inner, tuple(command.commands))


def _entry(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [param.get_help_record(context) for param in command.params if isinstance(param, click.Option)]
    table = [f"| `{names}` | {text} |" for names, text in filter(None, rows)]
    options = ["| option | |", "| --- | --- |", *table, ""] if table else []
    return "\n".join([f"## `{context.command_path}`\n", f"```\n{usage}\n```\n", _text(command), "", *options])


def _text(command: click.Command) -> str:
    """The help as paragraphs; an example stands on a line of its own as code."""
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.help or ""))
    return re.sub(r"For example: (.+)", r"For example:\n\n```\n\1\n```", text)


def _checks() -> str:
    lines = ["## What `sublet doctor` looks at\n", "| check | all is well where |", "| --- | --- |"]
    lines += [*map(_row, CHECKS), *map(_row, BOOK_CHECKS)]
    lines.append(
        "\nWhere the platform runs, `parts` stands for one check of each: `proxy`, `hub`, `api`, `meter`, and"
        " `routes`, the way through the public port. Each finding is `ok`, a `warning` or a `problem`, and says how"
        " to mend it."
    )
    lines += [
        "\n### With `--url`\n",
        "| check | all is well where |",
        "| --- | --- |",
        *(_row(each) for each in REMOTE_CHECKS),
    ]
    return "\n".join(lines) + "\n"


def _row(check: Callable[..., object]) -> str:
    return f"| `{check.__name__}` | {' '.join(inspect.cleandoc(check.__doc__ or '').split())} |"
