"""`sublet doctor`: each check finds what it is there to find, and says how to mend it."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sublet_hub.cli import doctor, exits
from sublet_hub.cli.doctor import books as book_checks
from sublet_hub.cli.doctor import data_folder, installation, machine, running
from sublet_hub.cli.doctor import models as of_models
from sublet_hub.cli.doctor.findings import Finding, Level
from sublet_hub.cluster.gpus import Device, GpuDiscoveryError
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.flavors import Tier
from sublet_hub.models_store import Store
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.sources import FolderSource
from sublet_hub.run.lock import hold
from sublet_hub.settings import Settings, load_settings
from sublet_hub.storage import leasing, metering, quotas
from sublet_hub.storage.books import Books
from sublet_hub.wiring import open_books
from tests.cli.conftest import Run, tamper
from tests.fixtures.models import catalogue_of, contents, model_of, toml_of, write


def worst(findings: Iterator[Finding]) -> Finding:
    """The worst of a check's findings; all must say how to mend it, and the good ones must not."""
    found = list(findings)
    assert found
    for finding in found:
        assert (finding.mend is None) == (finding.level is Level.OK)
        assert "\n" not in finding.text
    return max(found, key=lambda finding: list(Level).index(finding.level))


def changed(settings: Settings, **values: object) -> Settings:
    return settings.model_copy(update=values)


@pytest.fixture
def books(beside: Settings) -> Iterator[Books]:
    with open_books(beside) as opened:
        yield opened


@contextmanager
def running_platform(settings: Settings) -> Iterator[None]:
    with hold(settings.data / "up.lock", settings.public_url):
        yield


def test_all_together_on_a_stopped_platform(beside: Settings, run: Run) -> None:
    ran = run("doctor", "--json")
    levels = {finding["check"]: finding["level"] for finding in ran.json}
    assert levels["files"] == levels["configuration"] == levels["database"] == levels["audit"] == "ok"
    assert levels["parts"] == "warning"
    assert ran.code == (exits.PROBLEM if "problem" in levels.values() else exits.OK)
    people = run("doctor")
    assert "Sublet is not running" in people.out
    assert people.code == ran.code


def test_a_folder_without_a_platform(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SUBLET_DATA", str(tmp_path / "empty"))
    ran = run("doctor")
    assert ran.code == exits.PROBLEM
    assert "holds no platform" in ran.out
    assert "sublet up" in ran.out


def test_a_check_that_fails_itself_hides_no_other(
    beside: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_settings: Settings) -> Iterator[Finding]:
        yield Finding(f"{1 // len('')}", Level.OK, "never")

    monkeypatch.setattr(doctor, "CHECKS", (broken, data_folder.disk))
    found = list(doctor.examine(beside))
    assert [finding.check for finding in found][:2] == ["broken", "disk"]
    assert found[0].level is Level.PROBLEM
    assert "ZeroDivisionError" in found[0].text


@pytest.mark.parametrize("name", ["credentials", "secrets.json", "sublet.sqlite"])
def test_secrets_that_others_can_read(beside: Settings, name: str) -> None:
    (beside.data / name).chmod(0o644)
    finding = worst(data_folder.files(beside))
    assert finding.level is Level.PROBLEM
    assert name in finding.text
    assert finding.mend is not None
    assert f"chmod go= {beside.data / name}" in finding.mend


def test_a_data_folder_that_others_can_write(beside: Settings) -> None:
    beside.data.chmod(0o777)
    assert worst(data_folder.files(beside)).level is Level.PROBLEM


def test_a_misspelt_setting(beside: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBLET_PROT", "1")
    finding = worst(data_folder.configuration(beside))
    assert (finding.level, "SUBLET_PROT" in finding.text) == (Level.WARNING, True)


def test_a_catalog_that_is_wrong(beside: Settings) -> None:
    beside.toml_file.write_text('[[flavors]]\nname = "x"\n')
    finding = worst(data_folder.configuration(beside))
    assert finding.level is Level.PROBLEM
    assert "flavors" in finding.text


def test_open_to_the_network_without_tls(beside: Settings) -> None:
    assert worst(data_folder.configuration(changed(beside, host="0.0.0.0"))).level is Level.WARNING


@pytest.mark.parametrize(("free", "level"), [(10**12, Level.OK), (3 * 2**30, Level.WARNING), (2**20, Level.PROBLEM)])
def test_room_on_the_disk(beside: Settings, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    usage = type(shutil.disk_usage("/"))(10**12, 10**12 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert worst(data_folder.disk(beside)).level is level


def test_no_notebook_environment(beside: Settings) -> None:
    finding = worst(installation.notebooks(changed(beside, notebook_python=Path("/no/such/python"))))
    assert finding.level is Level.PROBLEM


def test_a_notebook_environment_that_lacks_jupyterlab(beside: Settings, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho \'["3.11.0", ["jupyterlab", "torch"]]\'\n')
    fake.chmod(0o755)
    finding = worst(installation.notebooks(changed(beside, notebook_python=fake)))
    assert finding.level is Level.PROBLEM
    assert "jupyterlab" in finding.text
    fake.write_text('#!/bin/sh\necho \'["3.11.0", ["torch"]]\'\n')
    assert worst(installation.notebooks(changed(beside, notebook_python=fake))).level is Level.WARNING
    fake.write_text("#!/bin/sh\nexit 1\n")
    assert worst(installation.notebooks(changed(beside, notebook_python=fake))).level is Level.PROBLEM


def test_no_proxy(beside: Settings) -> None:
    finding = worst(installation.node_and_proxy(changed(beside, proxy_script=Path("/no/such/script"))))
    assert (finding.level, "/no/such/script" in finding.text) == (Level.PROBLEM, True)


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10), Level.PROBLEM), ((3, 12), Level.OK), ((3, 14), Level.WARNING)]
)
def test_python(beside: Settings, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], level: Level) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    assert worst(installation.python(beside)).level is level


def test_a_clock_that_was_set_back(beside: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worst(machine.clock(beside)).level is Level.OK
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    assert worst(machine.clock(beside)).level is Level.PROBLEM
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert worst(machine.clock(beside)).level is Level.PROBLEM


GPU = Device("GPU-1", "NVIDIA H100", 7000, 2**36)


def test_a_gpu_that_is_gone_and_one_that_is_in_no_pool(beside: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    text = beside.toml_file.read_text()
    beside.toml_file.write_text(text.replace("simulated = true", "simulated = false"))
    monkeypatch.setattr(machine, "discover", lambda: (GPU,))
    found = list(machine.gpus(beside))
    assert {finding.level for finding in found if "SIM-0" in finding.text} == {Level.PROBLEM}
    assert {finding.level for finding in found if "(GPU-1)" in finding.text} == {Level.WARNING}


def test_a_driver_that_fails(beside: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[Device, ...]:
        raise GpuDiscoveryError("the NVIDIA driver does not start: version mismatch")

    monkeypatch.setattr(machine, "discover", fail)
    finding = worst(machine.gpus(beside))
    assert (finding.level, finding.text) == (
        Level.PROBLEM, "The NVIDIA driver does not start: version mismatch.",
    )  # fmt: skip


def test_the_sandbox_is_tried_out(beside: Settings) -> None:
    finding = worst(machine.sandbox(beside))
    assert finding.level in {Level.OK, Level.WARNING}
    assert finding.text.startswith("Level ")


def test_a_port_that_something_else_has(beside: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = load_settings({"SUBLET_DATA": str(beside.data), "SUBLET_API_PORT": str(port)})
        finding = worst(running.parts(settings))
    assert finding.level is Level.PROBLEM
    assert f"Port {port} is in use" in finding.text


def test_a_platform_whose_parts_do_not_answer(beside: Settings) -> None:
    with running_platform(beside):
        found = {finding.check: finding.level for finding in running.parts(beside)}
    assert found.keys() == {"proxy", "hub", "api", "meter", "gateway", "routes"}
    assert set(found.values()) == {Level.PROBLEM}


def test_a_platform_started_on_another_port_is_looked_for_there(beside: Settings) -> None:
    with running_platform(beside):
        said = [finding.text for finding in running.parts(changed(beside, port=19000))]
    assert "http://127.0.0.1:18991" in said[0]
    assert "1900" not in " ".join(said)


def test_a_meter_that_is_away(beside: Settings, books: Books) -> None:
    with running_platform(beside):
        assert worst(book_checks.heartbeat(beside, books)).level is Level.OK
        tamper(beside, "UPDATE heartbeats SET at_ms = at_ms - 60000")
        assert worst(book_checks.heartbeat(beside, books)).level is Level.PROBLEM
        tamper(beside, "UPDATE heartbeats SET at_ms = at_ms + 600000")
        assert "set back" in worst(book_checks.heartbeat(beside, books)).text
        tamper(beside, "DELETE FROM heartbeats")
        assert "never" in worst(book_checks.heartbeat(beside, books)).text


def test_no_default_quota(beside: Settings, books: Books) -> None:
    assert worst(book_checks.quota(beside, books)).level is Level.OK
    quotas.delete_quota(books, DEFAULT, actor="user:admin", why="")
    assert worst(book_checks.quota(beside, books)).level is Level.WARNING


def test_leases_against_records(beside: Settings, books: Books) -> None:
    wanted = LeaseRequest(user="alice", account=accounts.user("alice"), flavor="cpu", tier=Tier.GUARANTEED)
    lease = leasing.request(books, wanted, actor="service:sublet-spawner")
    metering.start(books, lease.id, books.clock.now_ms())
    assert f"Lease {lease.id} is open but has no record" in worst(book_checks.leases(beside, books)).text
    folder = beside.data / "leases" / lease.id
    folder.mkdir(parents=True)
    assert worst(book_checks.leases(beside, books)).level is Level.OK
    (folder / "record.jsonl").write_text("nonsense\n")
    assert "can't be read" in worst(book_checks.leases(beside, books)).text
    (folder / "record.jsonl").unlink()
    (beside.data / "leases" / "unknown").mkdir()
    assert "the database knows nothing" in worst(book_checks.leases(beside, books)).text


def test_an_audit_record_that_was_changed(beside: Settings, books: Books) -> None:
    quotas.delete_quota(books, DEFAULT, actor="user:admin", why="")
    assert worst(book_checks.audit(beside, books)).level is Level.OK
    tamper(beside, "UPDATE audit_records SET actor = 'user:mallory' WHERE number = 2")
    finding = worst(book_checks.audit(beside, books))
    assert (finding.level, finding.text) == (Level.PROBLEM, "Record 2 was changed.")
    tamper(beside, "DELETE FROM audit_records WHERE number = 2")
    assert worst(book_checks.audit(beside, books)).text == "Records are missing at the end."


def test_no_database(beside: Settings) -> None:
    (beside.data / "sublet.sqlite").unlink()
    found = {finding.check: finding for finding in doctor.examine(beside)}
    assert found["database"].level is Level.PROBLEM
    assert json.dumps(found["database"].to_json())


def test_models_that_are_not_in_the_store_are_named(beside: Settings, tmp_path: Path) -> None:
    assert worst(of_models.models(beside)).text.startswith("0 models in the catalogue")
    model = model_of(contents())
    beside.models_toml.write_text(toml_of(catalogue_of(model)))
    lacking = worst(of_models.models(beside))
    assert (lacking.level, lacking.mend) == (Level.WARNING, "Fetch it with: sublet models add tiny")
    source = FolderSource(str(write(tmp_path / "usb", contents())))
    Adding(Store(beside.models_dir), model, source).run()
    assert worst(of_models.models(beside)).level is Level.OK
    beside.models_toml.write_text("[[models]]")
    assert worst(of_models.models(beside)).level is Level.PROBLEM
