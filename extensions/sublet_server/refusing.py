"""Refusing new kernels and terminals, with the reason where the user looks. What runs is left alone."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from jupyter_client.multikernelmanager import DuplicateKernelError
from jupyter_core.utils import ensure_async
from tornado.web import HTTPError

STATUS = 409


class StartRefused(HTTPError, DuplicateKernelError):
    """Nothing new is started. The answer's `message` is the reason, which JupyterLab shows in a dialog.

    Jupyter Server turns what goes wrong in the start of a session into a bare 500, but for the error of a kernel
    that exists already, which becomes a 409 with its text. So this is one of those too.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(STATUS, reason.replace("%", " percent"))

    def __str__(self) -> str:
        return self.log_message or ""


Refusal = Callable[[], str | None]


def guard_kernels(kernel_manager: Any, refusal: Refusal) -> None:
    """Have the kernel manager ask first, whoever starts a kernel: `api/kernels`, `api/sessions`, an extension."""
    start: Callable[..., Awaitable[str]] = kernel_manager.start_kernel

    @functools.wraps(start)
    async def start_kernel(*args: Any, **kwargs: Any) -> str:
        kernel_id = kwargs.get("kernel_id")
        if kernel_id is None or kernel_id not in kernel_manager:
            _check(refusal)
        started: str = await ensure_async(start(*args, **kwargs))
        return started

    kernel_manager.start_kernel = start_kernel


def guard_terminals(terminal_manager: Any, refusal: Refusal) -> None:
    """The same for terminals."""
    create: Callable[..., Any] = terminal_manager.create

    @functools.wraps(create)
    def create_terminal(*args: Any, **kwargs: Any) -> Any:
        _check(refusal)
        return create(*args, **kwargs)

    terminal_manager.create = create_terminal


def _check(refusal: Refusal) -> None:
    reason = refusal()
    if reason is not None:
        raise StartRefused(reason)
