"""The example notebook runs, and computes what it says: with several workers, in little memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.extension.test_in_kernel import PYTHON
from tests.fixtures.platform import ROOT

EXAMPLE = ROOT / "extensions" / "examples" / "several-gpus.ipynb"
SCRIPT = Path(__file__).with_name("run_notebook.py")


@pytest.fixture
def notebook() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return read


def printed(notebook: dict[str, Any]) -> str:
    """What its cells wrote, errors too."""
    outputs = [each for cell in notebook["cells"] for each in cell.get("outputs", [])]
    return "".join("".join(each.get("text", [])) + each.get("evalue", "") for each in outputs)


def test_it_is_kept_without_what_it_printed(notebook: dict[str, Any]) -> None:
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_runs_on_processors(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    output = tmp_path / "ran.ipynb"
    parameters = json.dumps({"WORKER_MEMORY": "700MiB", "STEPS": 100})
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUBLET_", "JUPYTERHUB_"))}
    env = {**kept, "PYTHONPATH": str(ROOT / "extensions"), "CPU_LIMIT": "2", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [PYTHON, SCRIPT, EXAMPLE, parameters, output], env=env, cwd=tmp_path, capture_output=True, text=True,
        timeout=550, check=False,
    )  # fmt: skip
    said = printed(json.loads(output.read_text(encoding="utf-8")))
    assert done.returncode == 0, said
    assert "2 workers; arrays lie in 0.7 GiB of host memory each" in said
    assert re.search(r"1\.03 GiB in \d\d chunks; one worker has 0\.68 GiB", said), said
    assert re.search(r"The strongest is the hidden one to (99|100)\.", said), said
    assert re.search(r"step  99  loss 0\.\d+  right 9\d\.\d%  on 2 workers", said), said
