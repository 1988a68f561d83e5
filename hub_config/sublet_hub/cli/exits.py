"""What a command's exit status means, and the errors that lead to one."""

from __future__ import annotations

from typing import IO, Any

import click

OK = 0
PROBLEM = 1
"""The command worked and found a problem, or the platform refused what was asked."""
USAGE = 2
"""The command line, or a value in it, is wrong; nothing was done."""
UNREACHABLE = 3
"""No platform was found, or it doesn't answer."""
NOT_ALLOWED = 4
"""No token, an unknown one, or one that may not do this."""


class CommandError(click.ClickException):
    """A failure as one sentence for people, and what to do about it; ends the command with `exit_code`."""

    def __init__(self, message: str, *, hint: str | None = None, exit_code: int = PROBLEM) -> None:
        super().__init__(message)
        self.hint = hint
        # click reads it from the instance, though it declares it on the class.
        vars(self)["exit_code"] = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"Error: {self.message}", file=file, err=file is None)
        if self.hint:
            click.echo(self.hint, file=file, err=file is None)


class UsageProblem(CommandError):
    """A value on the command line is wrong."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, exit_code=USAGE)


class Unreachable(CommandError):
    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, exit_code=UNREACHABLE)


class NotAllowed(CommandError):
    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, exit_code=NOT_ALLOWED)
