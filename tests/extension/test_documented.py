"""docs/notebook.md tells of all that a notebook and a terminal have."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import sublet
from sublet import command

PAGE = (Path(__file__).parents[2] / "docs" / "notebook.md").read_text(encoding="utf-8")


def test_every_function_and_error_is_told_of() -> None:
    public = {name for name in sublet.__all__ if name[0].islower() or issubclass(getattr(sublet, name), Exception)}
    told = set(re.findall(r"`@?sublet\.(\w+)", PAGE)) | {"load_ipython_extension"}
    assert public - told == set()
    assert "`%load_ext sublet`" in PAGE


def test_every_member_of_a_notice_is_told_of() -> None:
    assert {f"| `{each.name}` |" for each in fields(sublet.Notice)} - set(re.findall(r"\| `\w+` \|", PAGE)) == set()


def test_every_command_and_exit_status_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    there = set(re.findall(r"^    (\w+)  +\w", capsys.readouterr().out, re.MULTILINE))
    assert (
        there == set(re.findall(r"\| `sublet (\w+)", PAGE)) == {"quota", "lease", "usage", "models", "stop", "keep"}
    )
    statuses = (command.OK, command.PROBLEM, command.WRONG_USE, command.UNREACHABLE, command.NOT_ALLOWED)
    assert [f"| {status} |" in PAGE for status in statuses] == [True] * 5


def test_every_magic_is_told_of() -> None:
    assert {"`%sublet lease`", "`%sublet quota`", "`%sublet usage`"} <= set(re.findall(r"`[^`]+`", PAGE))
    assert "\n%%sublet cost\n" in PAGE
