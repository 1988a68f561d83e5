"""Puts the prebuilt JupyterLab extension into the wheel, and refuses to make a wheel without it.

An editable install leaves it out: there, the folder that the build writes is linked into the environment
(scripts/setup.py), so that a new build is served at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface  # type: ignore[import-not-found]

BUILT = Path("lab/labextension")
SERVED = "share/jupyter/labextensions/@sublet/lab"


class PrebuiltLab(BuildHookInterface):  # type: ignore[misc]  # hatchling is there only when a wheel is built
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        if not (Path(self.root) / BUILT / "package.json").exists():
            raise FileNotFoundError(f"{BUILT} is not built yet: run `make lab` first (docs/lab.md)")
        build_data["shared_data"][str(BUILT)] = SERVED
