"""Write the parts of docs/ that are made from the code: settings, commands, the API, the chart's values. `make docs`
calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scripts.helm_values import SCHEMA, schema_json, values_page

from sublet_hub.api.app import published_document
from sublet_hub.catalog import starter_toml
from sublet_hub.cli.reference import cli_page
from sublet_hub.cluster.gpus import simulated
from sublet_hub.settings import describe

DOCS = Path(__file__).resolve().parent.parent / "docs"
SETTINGS = DOCS / "settings.md"
OPENAPI = DOCS / "openapi.json"
CLI = DOCS / "cli.md"
HELM_VALUES = DOCS / "helm-values.md"

HEAD = """\
# Settings

<!-- Made by `make docs` from hub_config/sublet_hub/settings/; edit it there. -->

Each setting is taken from the environment, else from `sublet.toml` in the data folder, else from its default.
`sublet.toml` is written on the first start; a change takes effect at the next. A wrong value, or a name that
there is not, stops the start and is named. `none` says None where a setting allows it.

`make run SUBLET_PORT=9000` and `SUBLET_PORT=9000 sublet up` both work, and so does `port = 9000` in the file.

"""

CATALOG = """
## Pools and flavors

What can be leased stands in the same file, after the settings. This is what a machine without GPUs begins with:

```toml
{toml}```
"""


def settings_page() -> str:
    """The whole of docs/settings.md."""
    return HEAD + "\n".join(_entry(*each) for each in _all()) + CATALOG.format(toml=_example())


def _all() -> list[tuple[str, str, str, str]]:
    return [(doc.name, doc.env, doc.default, doc.text) for doc in describe()]


def _entry(name: str, env: str, default: str, text: str) -> str:
    shown = "derived, see below" if default == "(derived)" else f"`{default}`"
    return f"## `{name}`\n\nIn the environment `{env}`. Default: {shown}.\n\n{text}\n"


def _example() -> str:
    """A starter file, with numbers that do not depend on the machine the page is made on."""
    lines = starter_toml(simulated(2)).splitlines()
    fixed = {"cpus = ": "cpus = 4", "memory_gib = ": "memory_gib = 16"}
    shown = [next((new for start, new in fixed.items() if line.startswith(start)), line) for line in lines]
    return "\n".join(shown) + "\n"


def openapi_json() -> str:
    """The whole of docs/openapi.json."""
    return json.dumps(published_document(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    for path, content in (
        (SETTINGS, settings_page()),
        (CLI, cli_page()),
        (OPENAPI, openapi_json()),
        (SCHEMA, schema_json()),
        (HELM_VALUES, values_page()),
    ):
        path.write_text(content, encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
