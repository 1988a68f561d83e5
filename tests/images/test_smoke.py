"""Each image does what it is for, as a pod that may do as little as ours may."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from tests.fixtures.kube import Image
from tests.images.pods import script, strict_pod
from tests.kube.kubectl import Namespace

USAGE = 2

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(300)]


def test_hub(namespace: Namespace, image: Image) -> None:
    code, output = namespace.run_to_end(strict_pod(image("hub"), script("hub"), "/var/lib/sublet"))
    assert code == 0, output
    assert f"sublet {version('sublet-hub')}" in output
    assert f"jupyterhub {version('jupyterhub')}" in output
    assert re.search(r"^proxy \d+\.\d+\.\d+$", output, re.MULTILINE)
    assert output.count("default quota") == 1


def test_notebook(namespace: Namespace, image: Image) -> None:
    pod = strict_pod(image("notebook"), script("notebook"), "/home/jovyan", user=4242)
    code, output = namespace.run_to_end(pod)
    assert code == 0, output
    assert f"singleuser {version('jupyterhub')}" in output


def test_warden(namespace: Namespace, image: Image) -> None:
    code, output = namespace.run_to_end(strict_pod(image("warden"), ["--no-such-flag"], "/none", user=65532))
    assert (code, "--port" in output) == (USAGE, True), output
