"""Models in a lease: what is open and what is accepted can be read, and nothing else of the store."""

from __future__ import annotations

import json
import sys

from sublet_hub.models_store import Store
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.sources import FolderSource
from tests.cluster.machine import Machine, until
from tests.fixtures.models import GATED, contents, model_of, write

FILES = contents(weight_bytes=1000)
LOOK = """\
import json, os, pathlib, sys, time

root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])

def attempt(act):
    try:
        return act()
    except OSError:
        return "refused"

def look():
    seen = {}
    for name in ("open/tiny", "open/late", "gated/yes", "gated/no", "gated/yes-too"):
        seen[name] = attempt(lambda: (root / name / "r1" / "config.json").read_text())
    seen["gated"] = attempt(lambda: sorted(os.listdir(root / "gated")))
    seen["incoming"] = attempt(lambda: os.listdir(root / "incoming"))
    for name in ("open", "open/tiny/r1", "gated/yes/r1"):
        seen["write " + name] = attempt(lambda: (root / name / "mine").write_text("x"))
    seen["change"] = attempt(lambda: (root / "open/tiny/r1/config.json").write_text("x"))
    seen["mode"] = attempt(lambda: os.chmod(root / "open/tiny/r1/config.json", 0o777))
    return seen

for number in (1, 2):
    while number == 2 and not pathlib.Path("go").exists():
        time.sleep(0.02)
    (out / "new").write_text(json.dumps(look()))
    (out / "new").rename(out / f"seen-{number}")
"""


def add(machine: Machine, store: Store, name: str, *, gated: bool = False) -> None:
    model = model_of(FILES, name, GATED) if gated else model_of(FILES, name)
    with machine.platform():
        Adding(store, model, FolderSource(str(machine.data / "usb"))).run()


def filled(machine: Machine) -> Store:
    """A store whose modes somebody has loosened: what a server may not write, the mount forbids."""
    store = Store(machine.data / "models")
    with machine.platform():
        write(machine.data / "usb", FILES)
    add(machine, store, "tiny")
    for name in ("yes", "yes-too", "no"):
        add(machine, store, name, gated=True)
    for folder in ("open", "open/tiny/r1", "gated/yes/r1"):
        (store.root / folder).chmod(0o777)
    (store.root / "open/tiny/r1/config.json").chmod(0o666)
    return store


def seen(machine: Machine, number: int) -> dict[str, object]:
    path = machine.home / f"seen-{number}"
    until(path.exists, f"the server's look number {number}")
    return dict(json.loads(path.read_text()))


def start(machine: Machine, store: Store) -> str:
    (machine.home / "look.py").write_text(LOOK)
    where = (str(store.root), str(machine.home))
    return machine.start(
        sys.executable, "look.py", *where, hide=(str(store.root),), offered=store.readable(["yes", "yes-too"])
    )


def test_a_server_reads_what_is_open_and_accepted_and_writes_none_of_it(contained: Machine) -> None:
    store = filled(contained)
    start(contained, store)
    config = FILES["config.json"].decode()
    looked = seen(contained, 1)
    assert looked == {
        "open/tiny": config,
        "open/late": "refused",
        "gated/yes": config,
        "gated/yes-too": config,
        "gated/no": "refused",
        "gated": ["yes", "yes-too"],
        "incoming": "refused",
        "write open": "refused",
        "write open/tiny/r1": "refused",
        "write gated/yes/r1": "refused",
        "change": "refused",
        "mode": "refused",
    }
    add(contained, store, "late")
    (contained.home / "go").touch()
    assert seen(contained, 2) == {**looked, "open/late": config}


def test_without_namespaces_a_server_starts_all_the_same(plain: Machine) -> None:
    store = filled(plain)
    lease_id = start(plain, store)
    assert seen(plain, 1)["open/tiny"] == FILES["config.json"].decode()
    assert plain.seen(lease_id).running
