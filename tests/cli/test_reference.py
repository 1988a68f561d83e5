"""docs/cli.md says what the commands say, and says something about each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sublet_hub.cli import main
from sublet_hub.cli.doctor import BOOK_CHECKS, CHECKS, REMOTE_CHECKS
from sublet_hub.cli.main import COMMANDS
from sublet_hub.cli.reference import cli_page

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        yield (name,), command
        if isinstance(command, click.Group):
            yield from (((name, inner), each) for inner, each in command.commands.items())


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == cli_page(), "run `make docs`"


@pytest.mark.parametrize(
    ("words", "command"), list(commands()), ids=lambda it: "-".join(it) if isinstance(it, tuple) else ""
)
def test_each_command_and_option_is_explained(words: tuple[str, ...], command: click.Command) -> None:
    section = cli_page().partition(f"## `sublet {' '.join(words)}`\n")[2].partition("\n## ")[0]
    assert len(command.help or "") > 20
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{param.name} has no help"
            assert max(param.opts, key=len) in section
    helped = CliRunner().invoke(main, [*words, "--help"])
    assert helped.exit_code == 0
    assert "Usage: " in helped.output


def test_each_check_of_the_doctor_is_explained() -> None:
    for check in (*CHECKS, *BOOK_CHECKS, *REMOTE_CHECKS):
        assert check.__doc__, check.__name__
        assert f"| `{check.__name__}` |" in cli_page()


def test_every_group_of_commands_lists_its_own_in_the_help() -> None:
    """The top level imports no command for its help, so it has their lines itself."""
    for name, (_, line) in COMMANDS.items():
        command = main.get_command(click.Context(main), name)
        if isinstance(command, click.Group):
            assert all(inner in line for inner in command.commands)
