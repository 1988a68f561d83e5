"""The chart's schema of values, and the page that lists them. `make docs` writes both.

What each value is for stands in helm/values.schema.yaml; Sublet's own settings are taken from the code, so that the
chart takes those there are, and no others.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sublet_hub.hub.sign_in_options import SECRETS, SignIn
from sublet_hub.settings import Settings

HELM = Path(__file__).resolve().parent.parent / "helm"
SOURCE = HELM / "values.schema.yaml"
SCHEMA = HELM / "sublet" / "values.schema.json"
VALUES = HELM / "sublet" / "values.yaml"

SET_BY_CHART = frozenset(
    {
        *("cluster", "data", "config_file", "secrets_dir", "database_url", "hub_database_url", "hub_extra_config"),
        *("host", "internal_host", "hub_address", "api_address", "proxy_api_address"),
        *("port", "proxy_api_port", "hub_port", "api_port", "meter_port"),
        *("kube_namespace", "kube_release", "kube_notebook_image", "kube_warden_image", "kube_image_pull_policy"),
        *("kube_image_pull_secrets", "kube_home_gib", "kube_home_storage_class", "kube_models_claim"),
        *("kube_model_servers", "kube_vllm_image"),
        *("kube_priority_class_guaranteed", "kube_priority_class_surplus"),
    }
)
"""Settings that follow from other values of the chart."""

OF_ONE_MACHINE = frozenset(
    {
        *("notebook_python", "proxy_script", "sandbox", "simulated_gpus", "start_timeout_seconds"),
        *("restart_backoff_max_seconds", "term_grace_seconds"),
    }
)
"""Settings that mean nothing where leases are pods."""

HEAD = """\
# Values of the Helm chart

<!-- Made by `make docs` from helm/values.schema.yaml and helm/sublet/values.yaml; edit them there. -->

[kubernetes.md](kubernetes.md) tells how to install it. A value that there is not, or of the wrong kind, is refused by
`helm install`, `helm upgrade`, `helm template` and `helm lint`. Where a default is a map, what you set is merged into
it; where it is a list, yours stands in its place. "as in a pod" means: written as Kubernetes has it there.
"""


def schema() -> dict[str, Any]:
    """The schema as Helm reads it."""
    content = copy.deepcopy(_source())
    component = content["definitions"].pop("component")
    for part in content["properties"].values():
        if part.get("properties", {}).pop("$component", False):
            part["properties"] |= component
    content["properties"]["settings"] |= _settings()
    content["properties"]["signIn"]["properties"] |= _sign_in()
    return content


def _settings() -> dict[str, Any]:
    """Settings that make sense in `settings`, as the code has them."""
    described = Settings.model_json_schema()
    left_out = SET_BY_CHART | OF_ONE_MACHINE
    fields = {name: _plain(each) for name, each in described["properties"].items() if name not in left_out}
    return {"additionalProperties": False, "properties": fields}


def _sign_in() -> dict[str, Any]:
    """The keys of `[sign_in]`, but for secrets, which are files."""
    return {
        name: _plain(each) for name, each in SignIn.model_json_schema()["properties"].items() if name not in SECRETS
    }


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """A setting's schema without what only the code knows; None is said by the word, since Helm drops nulls."""
    kept = {key: value for key, value in field.items() if key not in {"title", "default"}}
    if "description" in kept:
        kept["description"] = " ".join(kept["description"].split())
    if "anyOf" in kept:
        kept["anyOf"] = [{"const": "none"} if each == {"type": "null"} else each for each in kept["anyOf"]]
    return kept


def schema_json() -> str:
    """The whole of helm/sublet/values.schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def entries(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Every value as its path and what it is for, groups before what is in them."""
    for name, given in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        resolved = resolve(given)
        yield here, resolved.get("description", "")
        yield from entries(resolved, here)
        if "items" in resolved:
            yield from entries(resolve(resolved["items"]), f"{here}[]")


def resolve(given: dict[str, Any]) -> dict[str, Any]:
    """A schema with its references followed; what stands beside a reference goes before what it refers to."""
    merged: dict[str, Any] = {}
    for each in given.get("allOf", ()):
        merged |= resolve(each)
    if "$ref" in given:
        merged |= resolve(_source()["definitions"][given["$ref"].rpartition("/")[2]])
    return merged | {key: value for key, value in given.items() if key not in {"allOf", "$ref"}}


@functools.cache
def _source() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    return content


def values_page() -> str:
    """The whole of docs/helm-values.md."""
    content, defaults = schema(), yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    sections = [HEAD]
    for name, given in content["properties"].items():
        part = resolve(given)
        sections.append(f"\n## `{name}`\n\n{part['description']}\n{_default(defaults, name)}")
        inner = list(entries(part, name)) + list(entries(resolve(part.get("items", {})), f"{name}[]"))
        if inner:
            rows = "\n".join(f"| `{path}` | {_default_cell(defaults, path)} | {text} |" for path, text in inner)
            sections.append(f"\n| value | default | |\n| --- | --- | --- |\n{rows}\n")
    return "".join(sections)


def _default(defaults: dict[str, Any], name: str) -> str:
    value = defaults.get(name)
    if isinstance(value, list) and value:
        return f"\nDefault:\n\n```yaml\n{yaml.safe_dump({name: value}, sort_keys=False)}```\n"
    return "" if isinstance(value, dict) else f"\nDefault: `{json.dumps(value)}`.\n"


def _default_cell(defaults: dict[str, Any], path: str) -> str:
    """The default, of a value that is no group."""
    value: Any = defaults
    for step in path.split("."):
        if not isinstance(value, dict) or step not in value:
            return ""
        value = value[step]
    return "" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"
