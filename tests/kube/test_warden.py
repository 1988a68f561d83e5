"""The kubelet ends leases at their deadlines, with no process of ours alive, whatever their code does.

All pods start together and each test looks at its own; nothing else of Sublet runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest

from sublet_hub.cluster.kube import names, warden
from sublet_hub.cluster.kube.capabilities import capabilities_of
from tests.fixtures.kube import Image
from tests.kube.kubectl import OVER, POD_SECONDS, Cluster, Namespace, Object, new_namespace, phase, until

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(400)]

GRACE_SECONDS = 2
MARGIN_MS = warden.end_margin_ms(GRACE_SECONDS)
ROUNDING_MS = 1_000
"""The API's times are whole seconds, rounded down."""

SOON_MS, FAR_MS = 25_000, 3_600_000
HOSTILE = (Path(__file__).parent / "hostile_notebook.py").read_text()

SLEEP = ("sleep", "3600")
STEAL = ("python3", "-c", HOSTILE, "steal", str(warden.PORT))
FLOOD = ("python3", "-c", HOSTILE, "flood", str(warden.PORT))

KILL = """
import os, signal, sys
from pathlib import Path
uid, wanted = sys.argv[1], sys.argv[2]
for process in Path("/proc").glob("[0-9]*"):
    try:
        ours = uid in (process / "cgroup").read_text().replace("_", "-")
        if ours and (process / "comm").read_text().strip() == wanted:
            os.kill(int(process.name), signal.SIGKILL)
            print("killed", process.name)
    except (FileNotFoundError, ProcessLookupError):
        pass
"""
"""What the node's administrator could do: kill -9 by pod and name."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Leases:
    """Pods with a warden, and nothing else of Sublet, in one namespace."""

    def __init__(self, namespace: Namespace, image: Image) -> None:
        version = [str(part) for part in namespace.cluster.version]
        self.namespace = namespace
        self._image = image
        self._warden = warden.Warden(image("warden"), capabilities_of(*version), GRACE_SECONDS)
        self.deadlines: dict[str, int] = {}

    def pod(self, name: str, command: tuple[str, ...], deadline: int | str | None) -> Object:
        if isinstance(deadline, int):
            self.deadlines[name] = deadline
        annotations = {} if deadline is None else {names.DEADLINE: str(deadline)}
        spec = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsUser": 1000, "runAsNonRoot": True},
            "containers": [
                {
                    "name": names.NOTEBOOK,
                    "image": self._image("notebook"),
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(command),
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                }
            ],
        }
        bare = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {**spec, "terminationGracePeriodSeconds": GRACE_SECONDS},
        }
        return warden.with_warden(bare, self._warden)

    def move(self, name: str, deadline_ms: int) -> None:
        """As `KubeCluster.arm` does it."""
        self.deadlines[name] = deadline_ms
        change = {"metadata": {"annotations": {names.DEADLINE: str(deadline_ms)}}}
        self.namespace.kubectl("patch", "pod", name, "--type=merge", "-p", json.dumps(change))

    def wait_running(self, name: str) -> None:
        self.namespace.wait_for_pod(name, lambda pod: "running" in state(pod), f"{name} to run", POD_SECONDS)

    def end_of(self, name: str) -> int:
        """When the notebook ended, in milliseconds since the epoch, rounded down to a second; waits for it."""
        return moment(self._ended(name)["finishedAt"])

    def ran_for(self, name: str) -> int:
        """How many milliseconds the notebook ran, to a second; waits for its end."""
        ended = self._ended(name)
        return moment(ended["finishedAt"]) - moment(ended["startedAt"])

    def _ended(self, name: str) -> Mapping[str, str]:
        pod = self.namespace.wait_for_pod(name, lambda found: "terminated" in state(found), f"{name} to end")
        return state(pod)["terminated"]

    def assert_ended_at_its_deadline(self, name: str) -> None:
        late_ms = self.end_of(name) - self.deadlines[name]
        assert -ROUNDING_MS <= late_ms <= MARGIN_MS, f"{name} ended {late_ms} ms after its deadline"

    def last_words(self, name: str) -> dict[str, object]:
        """The last line that hostile code printed."""
        said: dict[str, object] = json.loads(self.namespace.logs(name, names.NOTEBOOK).splitlines()[-1])
        return said

    def kill(self, name: str, process: str) -> None:
        """SIGKILL to a process of a pod, by root of its node."""
        pod = self.namespace.pod(name)
        killer = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"kills-{name}"},
            "spec": {
                "restartPolicy": "Never",
                "hostPID": True,
                "nodeName": pod["spec"]["nodeName"],
                "containers": [
                    {
                        "name": "root",
                        "image": self._image("notebook"),
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-c", KILL, pod["metadata"]["uid"], process],
                        "securityContext": {"privileged": True, "runAsUser": 0, "runAsNonRoot": False},
                    }
                ],
            },
        }
        code, said = self.namespace.run_to_end(killer)
        assert (code, said.count("killed")) == (0, 1), said


def moment(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def state(pod: Object) -> Mapping[str, Mapping[str, str]]:
    """Of the notebook: `running`, `waiting` or `terminated`."""
    for each in pod["status"].get("containerStatuses", ()):
        if each["name"] == names.NOTEBOOK:
            found: Mapping[str, Mapping[str, str]] = each["state"]
            return found
    return {}


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    with new_namespace(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def leases(namespace: Namespace, image: Image) -> Leases:
    made = Leases(namespace, image)
    soon, far = now_ms() + SOON_MS, now_ms() + FAR_MS
    namespace.apply(
        made.pod("ends", SLEEP, soon),
        made.pod("moves", SLEEP, soon),
        made.pod("steals", STEAL, soon),
        made.pod("floods", FLOOD, soon),
        made.pod("answerless", STEAL, far),
        made.pod("orphaned", STEAL, far),
        made.pod("undated", SLEEP, None),
        made.pod("garbled", SLEEP, "1e18"),
    )
    made.wait_running("moves")
    made.move("moves", far)
    return made


def test_without_an_answerer_a_notebook_is_ended_and_cannot_take_the_port(leases: Leases) -> None:
    leases.wait_running("answerless")
    leases.kill("answerless", "warden-answers")
    assert leases.end_of("answerless") < leases.deadlines["answerless"] - FAR_MS / 2
    assert leases.last_words("answerless")["taken"] == []


def test_without_its_holder_the_port_stays_closed_long_enough(leases: Leases) -> None:
    leases.wait_running("orphaned")
    until(lambda: "yes" in leases.namespace.logs("orphaned", names.WARDEN), "the kubelet to ask")
    leases.kill("orphaned", "warden")
    assert leases.end_of("orphaned") < leases.deadlines["orphaned"] - FAR_MS / 2
    assert leases.last_words("orphaned")["taken"] == []


def test_without_a_deadline_nothing_runs_on(leases: Leases) -> None:
    for name in ("undated", "garbled"):
        assert leases.ran_for(name) <= MARGIN_MS + warden.LEAD_MS + ROUNDING_MS


def test_a_notebook_ends_at_its_deadline_and_its_pod_soon_after(leases: Leases) -> None:
    leases.assert_ended_at_its_deadline("ends")
    pod = leases.namespace.wait_for_pod("ends", lambda found: phase(found) in OVER, "the warden to leave, too")
    assert "reason" not in pod["status"]


def test_code_in_the_notebook_reaches_neither_the_port_nor_the_warden_nor_its_file(leases: Leases) -> None:
    leases.assert_ended_at_its_deadline("steals")
    words = leases.last_words("steals")
    assert words.pop("rounds"), "it never tried"
    assert words == {"taken": [], "killed": [], "files": []}


def test_a_flood_and_deafness_to_sigterm_win_no_time(leases: Leases) -> None:
    """It may cost the lease time: where it keeps the warden from answering, the kubelet takes that for a no."""
    late_ms = leases.end_of("floods") - leases.deadlines["floods"]
    assert late_ms <= MARGIN_MS, f"it ended {late_ms} ms after its deadline"
    assert leases.last_words("floods") == {"flooding": warden.PORT}


def test_a_deadline_moves_out_and_in(leases: Leases) -> None:
    before_ms = leases.deadlines["ends"]
    until(lambda: now_ms() > before_ms + MARGIN_MS + ROUNDING_MS, "the deadline that it had at first to be past")
    assert "running" in state(leases.namespace.pod("moves"))

    leases.move("moves", now_ms() + 3_000)
    leases.assert_ended_at_its_deadline("moves")
