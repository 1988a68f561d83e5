"""Run cells in a real IPython kernel and print what became of them, as JSON: for `.venv-notebook`'s Python.

    python in_kernel.py < cells.json

A kernel is started as the notebook server starts it, with this process's environment.
"""

from __future__ import annotations

import json
import sys
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

CELL_SECONDS = 60


def run(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    """A cell's status, streams, and what it displayed, in order."""
    message = client.execute(code)
    told: dict[str, Any] = {"stdout": "", "stderr": "", "shown": [], "error": None}
    while True:
        heard = client.get_iopub_msg(timeout=CELL_SECONDS)
        if heard["parent_header"].get("msg_id") != message:
            continue
        kind, content = heard["msg_type"], heard["content"]
        if kind == "stream":
            told[content["name"]] += content["text"]
        elif kind in {"display_data", "execute_result"}:
            told["shown"].append(content["data"])
        elif kind == "error":
            told["error"] = {**content, "times": (told["error"] or {}).get("times", 0) + 1}
        elif kind == "status" and content["execution_state"] == "idle":
            break
    try:
        reply = client.get_shell_msg(timeout=CELL_SECONDS)
    except Empty:
        return told
    return {**told, "status": reply["content"]["status"]}


def main() -> None:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(extra_arguments=["--quiet"])
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=CELL_SECONDS)
        json.dump([run(client, cell) for cell in json.load(sys.stdin)], sys.stdout)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
