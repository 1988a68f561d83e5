"""Run a notebook with other parameters, in `.venv-notebook`, and write what came of it.

python run_notebook.py NOTEBOOK PARAMETERS_AS_JSON OUTPUT
"""

from __future__ import annotations

import json
import sys

import nbformat
from nbclient import NotebookClient

CELL_SECONDS = 200


def main(path: str, parameters: dict[str, object], output: str) -> None:
    notebook = nbformat.read(path, as_version=4)
    (given,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    given.source += "\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    try:
        NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3").execute()
    finally:
        nbformat.write(notebook, output)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])
