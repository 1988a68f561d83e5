"""Real leases on this machine, at each level of confinement it allows."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sublet_hub.cluster.confinement import Level
from tests.cluster.machine import NOBODY, PATIENCE_SECONDS, Machine


def _allowed(level: Level) -> bool:
    """Whether the system lets the account that fits a level have it; asked of util-linux, not of our own code."""
    if level is Level.NONE:
        return True
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    if level is Level.USER:
        command.insert(1, "--user")
        if os.geteuid() == 0:
            command = [
                "setpriv",
                f"--reuid={NOBODY}",
                f"--regid={NOBODY}",
                "--clear-groups",
                *command,
                "--map-root-user",
            ]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False).returncode == 0


def _machine(level: Level) -> Iterator[Machine]:
    if level is Level.ROOT and os.geteuid() != 0:
        pytest.skip("the level `root` needs root")
    if not _allowed(level):
        pytest.skip(f"this system does not allow the namespaces of the level `{level}`")
    data = Path(tempfile.mkdtemp(prefix="sublet-test-"))
    machine = Machine(data, level)
    try:
        yield machine
    finally:
        machine.close()
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(params=list(Level))
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Leases at each level."""
    yield from _machine(request.param)


@pytest.fixture(params=[Level.ROOT, Level.USER])
def contained(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Leases at the levels that promise that user code can't reach the platform."""
    yield from _machine(request.param)


@pytest.fixture
def plain() -> Iterator[Machine]:
    """Leases at the level that can be had everywhere."""
    yield from _machine(Level.NONE)


STEPPED_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    long offset = 0;
    const char *path = getenv("CLOCK_OFFSET_FILE");
    FILE *file = id == CLOCK_REALTIME && path ? fopen(path, "re") : NULL;
    if (file) {
        if (fscanf(file, "%ld", &offset) == 1) now->tv_sec += offset;
        fclose(file);
    }
    return result;
}
"""


def compile_library(folder: Path, name: str, source: str) -> Path:
    """Compile C into a shared library; skip without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (folder / f"{name}.c").write_text(source, encoding="utf-8")
    library = folder / name
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / f"{name}.c", "-ldl"], check=True)
    library.chmod(0o755)
    return library


@pytest.fixture
def stepped_clock(machine: Machine) -> Path:
    """A library that, when preloaded, adds the seconds in a file to the wall clock."""
    return compile_library(machine.data, "stepped-clock.so", STEPPED_CLOCK)
