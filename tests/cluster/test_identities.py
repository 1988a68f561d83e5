"""No two users ever share a user id or a home."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.cluster.identities import FIRST_UID, Identities, IdentitiesError, folder_name

ALLOCATE = """
import sys
from pathlib import Path
from sublet_hub.cluster.identities import Identities
identities = Identities(Path(sys.argv[1]))
for name in sys.argv[2:]:
    print(name, identities.uid_for(name))
"""


def test_processes_that_race_agree_and_give_no_id_twice(tmp_path: Path) -> None:
    names = [f"user-{number}" for number in range(12)]

    def allocate(turn: int) -> str:
        order = names[turn:] + names[:turn]
        command = [sys.executable, "-c", ALLOCATE, str(tmp_path), *order]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(6) as pool:
        answers = {line for answer in pool.map(allocate, range(0, 12, 2)) for line in answer.splitlines()}
    assert len(answers) == len(names)  # every process was told the same
    assert {int(line.split()[1]) for line in answers} == set(range(FIRST_UID, FIRST_UID + len(names)))


def test_an_id_stays(tmp_path: Path) -> None:
    first = Identities(tmp_path).uid_for("ann")
    Identities(tmp_path).uid_for("bob")
    assert Identities(tmp_path).uid_for("ann") == first
    assert stat.S_IMODE((tmp_path / "identities.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[]", '{"ann": "x"}', '{"ann": 0}', '{"ann": true}', '{"ann": 7, "bob": 7}'])
def test_a_damaged_table_is_an_error_and_never_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "identities.json").write_text(text)
    with pytest.raises(IdentitiesError):
        Identities(tmp_path).uid_for("cyd")
    assert (tmp_path / "identities.json").read_text() == text


def test_a_home_is_the_user_s_alone(tmp_path: Path) -> None:
    identity = Identities(tmp_path).identity_of("../Ann Lee")
    assert identity.home == tmp_path / "homes" / "_2e._2fAnn_20Lee"
    assert stat.S_IMODE(identity.home.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        assert identity.uid == identity.gid == identity.home.stat().st_uid == FIRST_UID
    else:
        assert identity.uid is None


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_different_names_have_different_folders(one: str, other: str) -> None:
    try:
        folders = [folder_name(one), folder_name(other)]
    except ValueError:
        return  # too long once written out
    assert (folders[0] == folders[1]) == (one == other)
    for folder in folders:
        assert folder == Path(folder).name
        assert folder not in {".", ".."}
        assert ":" not in folder
        assert folder.isascii()


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_a_name_that_fits_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="can't be a user here"):
        folder_name(name)
