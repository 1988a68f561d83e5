"""Check the JupyterLab extension: its types against JupyterLab's own, its tests, its format, and whether the types of
the API are those of docs/openapi.json. `make lab-check` calls it.

A build (scripts/setup.py) needs none of the packages that this installs besides.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scripts.setup import LAB, SetupFailed, Step, carry_out, npm


def main(arguments: Sequence[str]) -> int:
    tools = Step(
        "lab-tools",
        "JupyterLab's packages for checks",
        (LAB / "package.json", LAB / "package-lock.json"),
        LAB / "node_modules" / "@jupyterlab" / "application" / "package.json",
        lambda: npm("ci", "--ignore-scripts", cwd=LAB),
    )
    try:
        carry_out([tools])
        npm("run", "--silent", *(arguments or ["check"]), cwd=LAB)
    except SetupFailed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
