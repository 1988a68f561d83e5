"""What a process may open, and how it ends."""

from __future__ import annotations

import subprocess
import sys

RAISES = """
import resource
from sublet_hub.http_service import allow_files
hard = 300
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
print(allow_files(50), *resource.getrlimit(resource.RLIMIT_NOFILE))
print(allow_files(200), *resource.getrlimit(resource.RLIMIT_NOFILE))
print(allow_files(900), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""

OUTLIVES = """
import os, signal
from sublet_hub.http_service import outlive_signals
outlive_signals()
for each in (signal.SIGTERM, signal.SIGINT):
    os.kill(os.getpid(), each)
print("still here")
"""


def run(program: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout.splitlines()


def test_files_are_allowed_as_far_as_the_process_may_raise_that_itself_and_never_fewer() -> None:
    assert run(RAISES) == ["50 100 300", "200 200 300", "300 300 300"]


def test_signals_end_nothing_but_uvicorn() -> None:
    assert run(OUTLIVES) == ["still here"]
