"""`%sublet quota|lease|usage|models` and `%%sublet cost`. Nothing here imports IPython where it isn't already."""

from __future__ import annotations

import ast
import importlib
import os
import sys
import time
from typing import Any

from sublet import client, models
from sublet.asking import Surroundings
from sublet.cost import CellCost
from sublet.errors import SubletError
from sublet.gpu_use import GpuUse, sampled

READERS = {"quota": client.quota, "lease": client.lease, "usage": client.usage, "models": models.list}
AFTER_A_CELL_SECONDS = 3.0
"""How long a cell is held up at most for the price to be read."""


def register() -> None:
    """Add the magic to the IPython that runs here, if one does."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        load_ipython_extension(shell)


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext sublet` calls."""

    def sublet(line: str, cell: str | None = None) -> object:
        """Show what you hold and what is left: `%sublet quota`, `%sublet lease`, `%sublet usage`,
        `%sublet models`. At the top of a cell, `%%sublet cost`: its GPU-seconds, utilisation and money."""
        __tracebackhide__ = True
        return _magic(shell, line, cell)

    shell.register_magic_function(sublet, magic_kind="line_cell", magic_name="sublet")


def _magic(shell: Any, line: str, cell: str | None) -> object:
    __tracebackhide__ = True
    usage_error: type[Exception] = importlib.import_module("IPython.core.error").UsageError
    word = line.strip()
    try:
        if cell is None and word in READERS:
            return READERS[word]()
        if cell is None or word != "cost":
            raise usage_error("Use %sublet quota, lease, usage or models, or %%sublet cost at the top of a cell.")
        Surroundings.of(os.environ)  # outside a lease nothing is run
    except SubletError as error:
        raise usage_error(str(error)) from None
    return _with_cost(shell, cell)


def _with_cost(shell: Any, cell: str) -> object:
    """Run a cell, show what it cost, also where it fails, and give the value of its last line."""
    __tracebackhide__ = True  # as in each function here that a cell's traceback would show
    begun = time.perf_counter()
    with sampled() as use:
        try:
            return _run(shell, cell)
        finally:
            _report(time.perf_counter() - begun, use)


def _run(shell: Any, cell: str) -> object:
    """As IPython's own `%%time` does it."""
    __tracebackhide__ = True
    source = shell.transform_cell(cell)
    tree = shell.transform_ast(shell.compile.ast_parse(source))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    name = shell.compile.cache(source)
    exec(shell.compile(tree, name, "exec"), shell.user_ns)  # noqa: S102 — the user's own cell
    if last is None:
        return None
    return eval(shell.compile(ast.Expression(last.value), name, "eval"), shell.user_ns)  # noqa: S307 — the same


def _report(seconds: float, use: GpuUse) -> None:
    display = importlib.import_module("IPython.display").display
    try:
        display(CellCost.of(client.lease(timeout=AFTER_A_CELL_SECONDS), seconds, use))
    except SubletError as error:
        sys.stderr.write(f"The cell took {seconds:.3f} s. What it cost can't be told: {error}\n")
