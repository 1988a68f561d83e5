"""Filling the store: all of a model or nothing of it, from folders, mirrors and hubs, whatever breaks on the way."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sublet_hub.domain.models import Model
from sublet_hub.models_store import Store, StoreBusyError, StoreError
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.errors import TransferError, WrongContentError
from sublet_hub.models_store.sources import FolderSource, Source, source_from
from tests.fixtures.models import GATED, FileServer, contents, model_of, serving, write

FILES = contents()
WEIGHTS = "model.safetensors"
SIZE = len(FILES[WEIGHTS])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({f"/m/{name}": held for name, held in FILES.items()}) as running:
        yield running


class Counter:
    """A progress bar that counts."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def begin(self, what: str, total: int) -> None:
        self.total, self.done = total, 0

    def advance(self, count: int) -> None:
        self.done += count


def add(
    store: Store, model: Model, source: Source | str, *, again: bool = False, progress: Counter | None = None
) -> bool:
    chosen = source_from(source, "http://127.0.0.1:9", None) if isinstance(source, str) else source
    return Adding(store, model, chosen, progress, again=again, pause=lambda _: None).run()


def visible(store: Store) -> set[str]:
    """All files that a lease could be shown."""
    return {
        str(path.relative_to(store.root))
        for kind in (store.open, store.gated)
        for path in kind.rglob("*")
        if path.is_file()
    }


def kept(store: Store) -> int:
    """Bytes that are there of what isn't whole."""
    return sum(path.stat().st_size for path in store.incoming.rglob("*") if path.is_file())


def test_a_folder_becomes_a_model_that_all_may_read_and_none_may_write(store: Store, tmp_path: Path) -> None:
    model = model_of(FILES)
    counter = Counter()
    assert add(store, model, str(write(tmp_path / "usb", FILES)), progress=counter)
    folder = store.folder_of(model)
    assert folder == store.root / "open" / "tiny" / "r1"
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in FILES} == {0o444}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent, folder / "original")} == {0o755}
    assert counter.done == counter.total == model.size_bytes
    assert kept(store) == 0
    assert not add(store, model, "/nowhere")


def test_a_gated_model_lies_where_no_user_may_pass(store: Store, tmp_path: Path) -> None:
    model = model_of(FILES, licence=GATED)
    add(store, model, str(write(tmp_path / "usb", FILES)))
    assert store.folder_of(model) == store.root / "gated" / "tiny" / "r1"
    assert stat.S_IMODE(store.gated.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.incoming.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.gated / "tiny").stat().st_mode) == 0o755
    assert store.readable([]) == (store.open,)
    assert store.readable(["tiny"]) == (store.open, store.gated / "tiny")


def test_an_address_may_be_a_models_own_or_have_placeholders(store: Store, server: FileServer) -> None:
    assert add(store, model_of(FILES), f"{server.url}/m/")
    server.files = {f"/org/two/at/r1/{name}": held for name, held in FILES.items()}
    assert add(store, model_of(FILES, "two"), f"{server.url}/{{repository}}/at/{{revision}}")
    assert {each.name for each in store.stored()} == {"tiny", "two"}


def test_a_hub_gives_its_files_for_a_token_that_goes_nowhere_else(store: Store) -> None:
    files = {f"/org/tiny/resolve/r1/{name}": held for name, held in FILES.items()}
    with serving(files) as storage, serving(files, token="hf_secret", elsewhere=storage.url) as hub:
        with pytest.raises(TransferError, match="401") as refused:
            add(store, model_of(FILES), source_from("hub", hub.url, None))
        assert "HF_TOKEN" in (refused.value.hint or "")
        assert add(store, model_of(FILES), source_from("hub", hub.url, "hf_secret"))
        assert len(storage.got) == len(FILES)
        assert {each.authorization for each in storage.got} == {None}


def test_a_broken_transfer_goes_on_where_it_broke(store: Store, server: FileServer) -> None:
    server.cuts = [30_000, 1_000]
    counter = Counter()
    assert add(store, model_of(FILES), f"{server.url}/m", progress=counter)
    assert server.ranges_of(WEIGHTS) == [None, "bytes=30000-", "bytes=31000-"]
    assert counter.done == counter.total


def test_a_server_that_can_not_go_on_is_asked_from_the_beginning(store: Store, server: FileServer) -> None:
    server.cuts, server.ranges = [30_000], False
    counter = Counter()
    assert add(store, model_of(FILES), f"{server.url}/m", progress=counter)
    assert server.ranges_of(WEIGHTS) == [None, "bytes=30000-"]
    assert counter.done == counter.total


@pytest.mark.parametrize("said", [f"bytes 0-{SIZE - 1}/{SIZE}", f"bytes 30000-{SIZE}/{SIZE + 1}", "nonsense"])
def test_a_part_of_something_else_is_not_put_behind_what_came(store: Store, server: FileServer, said: str) -> None:
    server.cuts, server.content_range = [30_000], said
    with pytest.raises(TransferError, match=r"asked for what follows byte 30000 of 100000"):
        add(store, model_of(FILES), f"{server.url}/m")
    assert kept(store) == 30_000
    server.content_range = None
    assert add(store, model_of(FILES), f"{server.url}/m")


def test_what_is_given_up_is_taken_up_by_the_next_command(store: Store, server: FileServer) -> None:
    server.cuts = [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(TransferError):
        add(store, model_of(FILES), f"{server.url}/m")
    assert visible(store) == set()
    assert kept(store) == 40_000
    server.cuts.clear()
    server.got.clear()
    assert add(store, model_of(FILES), f"{server.url}/m")
    assert server.ranges_of(WEIGHTS) == ["bytes=40000-"]


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(store: Store, server: FileServer) -> None:
    server.statuses = [503, 429]
    assert add(store, model_of(FILES), f"{server.url}/m")
    server.statuses = [403, 200]
    with pytest.raises(TransferError, match="403"):
        add(store, model_of(FILES, "two"), f"{server.url}/m")
    assert server.statuses == [200]


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("change", [b"", b"and more"])
def test_what_is_not_what_the_catalogue_says_never_comes_in(
    store: Store, server: FileServer, change: bytes, lengths: bool
) -> None:
    held = FILES[WEIGHTS]
    server.files[f"/m/{WEIGHTS}"] = held + change if change else held[:-1] + bytes([held[-1] ^ 1])
    server.lengths = lengths
    with pytest.raises((WrongContentError, TransferError), match="the catalogue says"):
        add(store, model_of(FILES), f"{server.url}/m")
    assert visible(store) == set()
    server.files[f"/m/{WEIGHTS}"] = held
    assert add(store, model_of(FILES), f"{server.url}/m")


def test_a_file_that_is_too_short_never_comes_in(store: Store, server: FileServer) -> None:
    server.files[f"/m/{WEIGHTS}"], server.lengths = FILES[WEIGHTS][:-1], False
    with pytest.raises(TransferError, match=r"ended too early|has not as many bytes"):
        add(store, model_of(FILES), f"{server.url}/m")
    assert visible(store) == set()


def test_a_part_of_something_else_is_found_out_and_fetched_anew(store: Store, server: FileServer) -> None:
    server.files[f"/m/{WEIGHTS}"], server.cuts = bytes(SIZE), [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(TransferError):
        add(store, model_of(FILES), f"{server.url}/m")
    server.files[f"/m/{WEIGHTS}"] = FILES[WEIGHTS]
    server.cuts.clear()
    server.got.clear()
    counter = Counter()
    assert add(store, model_of(FILES), f"{server.url}/m", progress=counter)
    assert server.ranges_of(WEIGHTS) == ["bytes=40000-", None]
    assert counter.done == counter.total


def test_parts_of_another_entry_of_the_catalogue_are_not_taken(store: Store, server: FileServer) -> None:
    server.cuts = [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(TransferError):
        add(store, model_of(contents(seed=1)), f"{server.url}/m")
    server.cuts.clear()
    server.got.clear()
    assert add(store, model_of(FILES), f"{server.url}/m")
    assert server.ranges_of(WEIGHTS) == [None]
    assert kept(store) == 0


@pytest.mark.parametrize(
    ("name", "held", "said"),
    [
        (WEIGHTS, b"\x80\x04\x95" + bytes(100), "it is a pickle"),
        (WEIGHTS, b"\x80\x02" + bytes(100), "it is a pickle"),
        (WEIGHTS, b"PK\x03\x04" + bytes(100), "zip archive"),
        (WEIGHTS, b"cos\nsystem\n(S'id'\ntR." + bytes(100), "header's length"),
        (WEIGHTS, (10).to_bytes(8, "little") + b"cos\nsystem\n", "no JSON object"),
        (WEIGHTS, FILES[WEIGHTS] + b"\x80\x04more", "not as long as its header says"),
        (WEIGHTS, FILES[WEIGHTS].replace(b"[0, ", b"[1, "), "gaps or overlaps"),
        (WEIGHTS, b"short", "header's length"),
        ("config.json", b"cos\nsystem\n(S'id'\ntR.", "it is no JSON"),
        ("config.json", b"[" * 200_000, "it is no JSON"),
        ("merges.txt", b"\x80\x03}q\x00.", "it is a pickle"),
        ("merges.txt", b"a\x00b", "it is no text"),
        ("merges.txt", b"\xff\xfe\x01", "no text in UTF-8"),
        ("tokenizer.model", b"\x80\x05\x95", "it is a pickle"),
        ("tokenizer.model", b"\x1f\x8b\x08", "gzip"),
        ("lid.ftz", b"\x80\x04\x95", "it is a pickle"),
        ("lid.ftz", b"fasttext?", "no model of fastText"),
    ],
)
def test_a_pickle_in_disguise_is_refused_though_its_sum_holds(
    store: Store, tmp_path: Path, name: str, held: bytes, said: str
) -> None:
    files = {"README": b"fine\n", name: held}
    with pytest.raises(WrongContentError, match=said):
        add(store, model_of(files), str(write(tmp_path / "usb", files)))
    assert visible(store) == set()


def test_sentencepiece_and_fasttext_are_known(store: Store, tmp_path: Path) -> None:
    files = {"tokenizer.model": b"\x0a\x0e\x0a\x05<unk>\x15\xff\xfe", "lid.ftz": b"\xba\x16\x4f\x2f\x0c\x00\x00\x00"}
    assert add(store, model_of(files), str(write(tmp_path / "usb", files)))


def test_too_little_room_is_said_before_anything_is_fetched(store: Store, server: FileServer) -> None:
    huge = model_of(FILES)
    huge = replace(huge, files=(replace(huge.files[0], size=10**15), *huge.files[1:]))
    with pytest.raises(StoreError, match=r"needs 931\d{3}\.\d\d GiB more") as refused:
        add(store, huge, f"{server.url}/m")
    assert "models_dir" in (refused.value.hint or "")
    assert server.got == []


def test_the_second_of_two_is_told_and_another_model_is_not_in_the_way(store: Store, tmp_path: Path) -> None:
    source = str(write(tmp_path / "usb", FILES))
    store.prepare()
    with store.alone_with("tiny"):
        with pytest.raises(StoreBusyError, match="tiny is being changed"):
            add(store, model_of(FILES), source)
        assert add(store, model_of(FILES, "two"), source)
    assert add(store, model_of(FILES), source)


def test_again_puts_whole_files_in_the_place_of_damaged_ones(store: Store, tmp_path: Path) -> None:
    model, source = model_of(FILES), str(write(tmp_path / "usb", FILES))
    add(store, model, source)
    damaged = store.folder_of(model) / "config.json"
    damaged.chmod(0o644)
    damaged.write_bytes(b"{}")
    with (store.folder_of(model) / WEIGHTS).open("rb") as held_open:
        assert add(store, model, source, again=True)
        assert hashlib.sha256(held_open.read()).hexdigest() == model.files[0].sha256
    assert (store.folder_of(model) / "config.json").read_bytes() == FILES["config.json"]
    assert kept(store) == 0


def test_again_leaves_the_old_one_where_the_new_one_can_not_be_had(store: Store, tmp_path: Path) -> None:
    model = model_of(FILES)
    add(store, model, str(write(tmp_path / "usb", FILES)))
    before = visible(store)
    with pytest.raises(TransferError, match="There is no file"):
        add(store, model, str(tmp_path / "nowhere"), again=True)
    assert visible(store) == before


def test_what_is_served_only_can_not_be_added(store: Store) -> None:
    with pytest.raises(StoreError, match="served only"):
        add(store, model_of({}), FolderSource("/nowhere"))


def test_a_hub_needs_a_repository(store: Store) -> None:
    with pytest.raises(TransferError, match="names no repository"):
        add(store, model_of(FILES, repository=""), "hub")
