"""Rendering the chart without a cluster, and finding one's way in what comes out."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

CHART = Path(__file__).parents[2] / "helm" / "sublet"
EVERYTHING = CHART / "ci" / "everything-on.yaml"
MINIMAL = CHART / "ci" / "minimal.yaml"
NODE_LOCAL = CHART / "ci" / "node-local.yaml"
RELEASE = "sublet"
NAMESPACE = "sublet"
SUPPORTED = "1.30.0"
OLDEST = "1.20.0"

CONTROLLERS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


def helm(*args: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm; a test that gets here without one is skipped."""
    found = shutil.which("helm")
    if found is None:
        pytest.skip("there is no helm on PATH")
    return subprocess.run(
        [found, *map(str, args)], input=stdin, capture_output=True, text=True, check=False, timeout=100
    )


@functools.cache
def _rendered(values: tuple[Path, ...], given: str, version: str, release: str, namespace: str) -> list[Object]:
    files: list[str | Path] = [part for path in values for part in ("-f", path)]
    done = helm(
        *("template", release, CHART, "-n", namespace, "--kube-version", version, *files, "-f", "-"), stdin=given
    )
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def parse(text: str) -> list[Object]:
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def render(
    *files: Path,
    values: Object | None = None,
    version: str = SUPPORTED,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
) -> list[Object]:
    """All objects of the chart with values of files and, above them, those given. They are shared: change none."""
    return _rendered(files, json.dumps(values or {}), version, release, namespace)


def refusal(values: Object) -> str:
    """Why Helm refuses these values."""
    done = helm("template", RELEASE, CHART, "-f", "-", stdin=json.dumps(values))
    assert done.returncode != 0, "helm took it"
    return done.stderr


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"] == name)
    return found


def pods(objects: list[Object]) -> dict[str, Object]:
    """Every pod of the chart, by the name of what makes it: metadata and spec."""
    found = {each["metadata"]["name"]: each["spec"]["template"] for each in objects if each["kind"] in CONTROLLERS}
    return found | {each["metadata"]["name"]: each for each in of_kind(objects, "Pod")}


def containers(pod: Object) -> Iterator[Object]:
    yield from pod["spec"].get("initContainers", ())
    yield from pod["spec"]["containers"]
