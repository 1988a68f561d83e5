"""Settings and routes are documented, and the extension is loaded where the package is installed."""

from __future__ import annotations

import json
import subprocess
import tomllib

import pytest

from tests.docs.pages import first_cells, page, section
from tests.extension.server.jupyter import PYTHON, ROOT

SHOW = """
import json
from sublet_server.app import SubletServer
from sublet_server.handlers import ROUTES
from sublet_server.model_handlers import MODEL_ROUTES, NAME
own = [name for name, trait in SubletServer.class_traits(config=True).items() if trait.this_class is SubletServer]
named = [(path.replace(NAME, "NAME"), handler) for path, handler in [*ROUTES, *MODEL_ROUTES]]
routes = [(path, method.upper()) for path, handler in named for method in ("get", "post") if method in vars(handler)]
print(json.dumps({"settings": own, "routes": [f"{method} {path[1:]}" for path, method in routes]}))
"""


def test_settings_and_routes_are_documented() -> None:
    if not PYTHON.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    shown = subprocess.run([PYTHON, "-c", SHOW], capture_output=True, text=True, check=True)
    there = json.loads(shown.stdout)
    text = page("server-extension.md")
    assert len(there["settings"]) > 5
    assert set(there["settings"]) - {"name"} <= first_cells(section(text, "## Settings"))
    routes = section(text, "## Routes")
    assert len(there["routes"]) == 11
    assert [each for each in there["routes"] if f"`{each}`" not in routes] == []


def test_it_is_loaded_where_the_package_is_installed() -> None:
    project = tomllib.loads((ROOT / "extensions" / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "sublet_server" in wheel["packages"]
    source = {there: here for here, there in wheel["shared-data"].items()}
    config = source["etc/jupyter/jupyter_server_config.d/sublet_server.json"]
    loaded = json.loads((ROOT / "extensions" / config).read_text())
    assert loaded["ServerApp"]["jpserver_extensions"] == {"sublet_server": True}
