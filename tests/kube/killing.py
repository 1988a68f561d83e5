"""Taking a release's own pods away, in the ways in which pods go."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event

from tests.kube.kubectl import KubectlFailed, Namespace
from tests.kube.postgres import Postgres

PARTS = ("hub", "proxy", "api", "meter")
OURS = f"app.kubernetes.io/component in ({','.join(PARTS)})"
FORCED = ("--force", "--grace-period=0")

CRASH, FORCE, DELETE = "crash", "force", "delete"


@dataclass
class Killer:
    """Kills what is asked for, and counts it."""

    namespace: Namespace
    database: Postgres
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def kill_each(self, victims: Sequence[str], pause: tuple[float, float]) -> None:
        """Kill all of these, in any order, one every now and then: parts, `leader` (the meter that meters),
        `database`, or `all` at once. Of what isn't there just then, nothing is killed."""
        for victim in self.chance.sample(victims, len(victims)):
            self.kill(victim)
            Event().wait(self.chance.uniform(*pause))  # the interval itself is what is wanted

    def kill(self, victim: str) -> None:
        if victim == "database":
            self.database.kill()
            killed = 1
        elif victim == "all":
            killed = self._remove(list(self.pods()), FORCE)
        else:
            named = [self.leader()] if victim == "leader" else list(self.pods(victim))
            running = [name for name in named if name]
            how = self.chance.choice((CRASH, CRASH, FORCE, DELETE))
            killed = self._remove([self.chance.choice(running)] if running else [], how)
        self.kills[victim] += bool(killed)

    def crash(self, part: str) -> None:
        """All pods of a part."""
        self.kills[part] += bool(self._remove(self.pods(part), CRASH))

    def pods(self, part: str = "") -> list[str]:
        """The pods of a part, or all of ours; not those that are on their way out."""
        selector = f"app.kubernetes.io/component={part}" if part else OURS
        found = self.namespace.all("pods", selector)
        return [
            pod["metadata"]["name"]
            for pod in found
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def leader(self) -> str:
        """The pod of the meter that leads, or that did last."""
        lease = self.namespace.get("lease", "sublet-meter")
        name = str((lease or {}).get("spec", {}).get("holderIdentity") or "")
        return name if name in self.pods("meter") else ""

    def _remove(self, pods: list[str], how: str) -> int:
        """A crash gives no process a chance to do anything any more; the pod goes after it, lest the kubelet waits
        ever longer before it starts the container again."""
        if not pods:
            return 0
        if how == CRASH:
            for pod in pods:
                self._try("exec", pod, "--", "sh", "-c", "kill -9 -1")
        self._try("delete", "pod", *pods, "--wait=false", "--ignore-not-found", *(() if how == DELETE else FORCED))
        return len(pods)

    def _try(self, *words: str) -> None:
        """Whatever is gone already, or has just not come yet, is as good as killed."""
        try:
            self.namespace.kubectl(*words)
        except KubectlFailed:
            return
