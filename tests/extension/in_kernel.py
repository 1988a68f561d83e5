"""Run cells in a real IPython kernel and print what became of them, as JSON: for `.venv-notebook`'s Python.

    python in_kernel.py < cells.json

A kernel is started as the notebook server starts it, with this process's environment.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

CELL_SECONDS = 60


class Kernel:
    """What became of each cell, by the id of its request. What a thread prints later is its cell's, too."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client
        self._told: dict[str, dict[str, Any]] = {}

    def run(self, code: str) -> None:
        """Run a cell to its end."""
        message = self._client.execute(code)
        self._told[message] = {"stdout": "", "stderr": "", "shown": [], "errors": [], "status": None}
        while not self._hear(self._client.get_iopub_msg(timeout=CELL_SECONDS), message):
            pass
        reply = self._client.get_shell_msg(timeout=CELL_SECONDS)
        while reply["parent_header"]["msg_id"] != message:  # answers to whether it is ready may be late
            reply = self._client.get_shell_msg(timeout=CELL_SECONDS)
        self._told[message]["status"] = reply["content"]["status"]

    def told(self) -> list[dict[str, Any]]:
        return list(self._told.values())

    def _hear(self, heard: dict[str, Any], message: str) -> bool:
        """Whether that cell is over."""
        kind, content, parent = heard["msg_type"], heard["content"], heard["parent_header"].get("msg_id")
        told = self._told.get(parent)
        if told is None:
            return False
        if kind == "stream":
            told[content["name"]] += content["text"]
        elif kind in {"display_data", "execute_result", "update_display_data"}:
            told["shown"].append(content["data"])
        elif kind == "error":
            told["errors"].append(content)
        return bool(parent == message and kind == "status" and content["execution_state"] == "idle")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # As the notebook server names it, after the kernel's id.
        in_kernel(KernelManager(kernel_name="python3", connection_file=f"{folder}/kernel-the-id.json"))


def in_kernel(manager: KernelManager) -> None:
    manager.start_kernel(extra_arguments=["--quiet"])
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=CELL_SECONDS)
        kernel = Kernel(client)
        for cell in json.load(sys.stdin):
            kernel.run(cell)
        json.dump(kernel.told(), sys.stdout)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
