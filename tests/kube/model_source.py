"""Models for a test of the chart: those that Sublet comes with, and some that somebody has to serve first: two small
gated ones, and one of those that Sublet comes with under another name, whose server is a lease."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sublet_hub.catalog import STARTER_MODELS
from tests.kube.kubectl import Namespace, Object, is_ready

LANGUAGE = "fasttext-lid-176"
MADE_WITH = (LANGUAGE, "sublet-tiny-llama")
"""What the hub's image holds."""

ACCEPTED, NOT_ACCEPTED = "gated-one", "gated-two"
LEASED = "leased-fasttext"
FLAVOR = "one"
NAME = "mirror"
PORT = 8000
URL = f"http://{NAME}:{PORT}/{{name}}"
CONTENT = {name: json.dumps({"model": name}).encode() for name in (ACCEPTED, NOT_ACCEPTED)}
FILE = "model.json"
SERVE = f"""
cp -rL /files /tmp/files && cp -r "$SUBLET_STARTER_MODELS/{LANGUAGE}" /tmp/files/{LEASED}
exec python -m http.server {PORT} --directory /tmp/files
"""


def catalogue(server: str) -> str:
    """The starter's; the gated ones, which are served by this server under their names; and the leased one."""
    starter = STARTER_MODELS.read_text(encoding="utf-8")
    return starter + "".join(_gated(name, server) for name in CONTENT) + _leased(starter)


def _leased(starter: str) -> str:
    (entry,) = (each for each in starter.split("[[models]]") if f'name = "{LANGUAGE}"' in each)
    started = '{ start = "fasttext" }'
    assert started in entry
    lease = f'{{ start = "fasttext", flavor = "{FLAVOR}", tier = "guaranteed" }}'
    return "[[models]]" + entry.replace(f'name = "{LANGUAGE}"', f'name = "{LEASED}"').replace(started, lease)


def _gated(name: str, server: str) -> str:
    content = CONTENT[name]
    return f"""
[[licences]]
name = "{name}"
title = "Licence of {name}"
version = "7"
url = "https://example.org/{name}"
gated = true

[[models]]
name = "{name}"
title = "{name}"
family = "Test"
task = "test"
licence = "{name}"
loader = "files"
files = [{{ path = "{FILE}", size = {len(content)}, sha256 = "{hashlib.sha256(content).hexdigest()}" }}]
[models.serving]
upstreams = [{{ url = "{server}" }}]
context_tokens = 1000
output_tokens_max = 1
"""


def begin(namespace: Namespace, image: str) -> None:
    """Serve all these models' files from now on."""
    namespace.apply(*_mirror(image))
    namespace.wait_for_pod(NAME, is_ready, "the mirror to answer")


def _mirror(image: str) -> list[Object]:
    labels = {"app": NAME}
    items = [{"key": name, "path": f"{name}/{FILE}"} for name in CONTENT]
    container: dict[str, Any] = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["sh", "-c", SERVE],
        "resources": {"requests": {"cpu": "1m"}},
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "files", "mountPath": "/files"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [{"name": "files", "configMap": {"name": NAME, "items": items}}],
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME},
         "data": {name: content.decode() for name, content in CONTENT.items()}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
         "spec": {"selector": labels, "ports": [{"port": PORT, "protocol": "TCP"}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": labels}, "spec": spec},
    ]  # fmt: skip
