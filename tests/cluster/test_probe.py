"""What `sublet doctor` says of confinement is what leases get."""

import json
import os
import subprocess
import sys

import pytest

from sublet_hub.cluster.confinement import Level
from sublet_hub.cluster.probe import probe
from tests.cluster.machine import Machine

REPORT = """
from sublet_hub.cluster.probe import probe
report = probe()
print(report.level, *report.meaning, report.missing, sep="\\n")
"""


def test_the_probe_finds_what_a_lease_gets(contained: Machine) -> None:
    """At each level: the trial, run as the platform's account would run it."""
    trial = contained.as_platform([sys.executable, "-I", "-m", "sublet_hub.cluster.probe"])
    said = subprocess.run(trial, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    assert json.loads(said.stdout) == {"missing": None}
    lease_id = contained.start("true")
    assert contained.ended(lease_id).exit_code == 0


def test_the_report_is_for_people() -> None:
    report = probe()
    assert report.contained == (report.missing is None) == (report.level is not Level.NONE)
    assert all(sentence.endswith(".") for sentence in report.meaning)


def test_where_namespaces_are_forbidden_the_report_says_so(plain: Machine) -> None:
    before = plain.as_platform(list(plain.without_namespaces()))
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs user namespaces, to forbid them inside one")
    command = [*before, sys.executable, "-I", "-c", REPORT]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    assert ran.stdout.startswith("none\n")
    assert "read the platform's secrets" in ran.stdout
    assert "clone: No space left on device" in ran.stdout
