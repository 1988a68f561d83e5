"""Pods that try an image out: as strictly confined as ours are, writable where the image says and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def script(name: str) -> list[str]:
    """A command that runs one of the scripts beside this file, after what holds for all images."""
    return ["sh", "-euc", f"{(HERE / 'clean.sh').read_text()}\n{(HERE / f'{name}.sh').read_text()}"]


def strict_pod(image: str, args: list[str], writable: str, user: int = 1000) -> dict[str, Any]:
    """A pod with a read-only root file system and no rights; `writable` and /tmp are empty and writable."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "smoke"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user,
                "runAsGroup": user,
                "fsGroup": user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "writable", "emptyDir": {}}],
            "containers": [
                {
                    "name": "smoke",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": args,
                    "resources": {"requests": {"cpu": "10m"}},
                    "securityContext": {
                        "readOnlyRootFilesystem": True,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "writable", "mountPath": writable},
                    ],
                }
            ],
        },
    }
