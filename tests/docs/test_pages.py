"""Pages hang together: links lead somewhere, nothing is left out of an index, the README is in its order."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, anchors, headings, links, name_of

LARGEST_PICTURE_BYTES = 300_000


def broken(page: Path, text: str) -> list[str]:
    """Links of a page that lead to no file, or to no heading of it."""
    return [target for target in links(text) if "://" not in target and not _resolves(page, target)]


def _resolves(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists() or not path.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_found() -> None:
    text = (
        "[a](nowhere.md) [b](README.md#no-such) [c](README.md) ![d](images/none.png) [e](#none)\n# There\n[f](#there)"
    )
    assert broken(DOCS / "README.md", text) == [
        "nowhere.md",
        "README.md#no-such",
        "images/none.png",
        "#none",
        "#there",
    ]


@pytest.mark.parametrize("index", [DOCS / "README.md", DOCS / "decisions" / "README.md"], ids=name_of)
def test_an_index_has_all_pages(index: Path) -> None:
    listed = set(links(index.read_text(encoding="utf-8")))
    there = {path.name for path in index.parent.iterdir() if path.suffix in {".md", ".json"}} - {index.name}
    assert there - listed == set()


def test_the_readme_is_in_its_order() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = ["Sublet", "Start it", "What to do next", "How it is built"]
    assert headings(text)[: len(wanted)] == wanted
    assert text.index("docs/images/flavors.png") < text.index("## Start it")
    opening = text.partition("\n![")[0].removeprefix("# Sublet\n")
    assert opening.count(".") == 3, "what it is and for whom, in three sentences"


def test_pictures_are_sharp_and_small() -> None:
    for picture in (DOCS / "images").glob("*.png"):
        content = picture.read_bytes()
        width, _height = struct.unpack(">II", content[16:24])  # PNG, IHDR
        assert width >= 2000, f"{picture.name}: make it at twice the scale"
        assert len(content) <= LARGEST_PICTURE_BYTES, picture.name
