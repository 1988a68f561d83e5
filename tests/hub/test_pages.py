"""Our templates and files: what pages load exists, and nothing is in them that the policy wouldn't let run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tornado.web import HTTPError

from sublet_hub.hub.pages import STATIC_FOLDERS, TEMPLATES, StaticFiles

TEMPLATE_FILES = sorted(TEMPLATES.rglob("*.html"))


@pytest.mark.parametrize("path", TEMPLATE_FILES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_no_script_or_style_stands_in_a_page(path: Path) -> None:
    text = re.sub(r"{#.*?#}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    inline = [tag for tag in re.findall(r"<script[^>]*>", text) if "src=" not in tag]
    assert [tag for tag in inline if 'type="application/json"' not in tag] == []
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)


@pytest.mark.parametrize("path", TEMPLATE_FILES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_what_a_page_names_is_there(path: Path) -> None:
    for name in re.findall(r"static_url\('sublet/([^']*)'\)", path.read_text(encoding="utf-8")):
        assert [folder for folder in STATIC_FOLDERS if (folder / name).is_file()], name


def test_every_file_is_used() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in TEMPLATE_FILES)
    ours = {path.name for path in STATIC_FOLDERS[0].iterdir()}
    assert {name for name in ours if f"sublet/{name}" not in pages} == {"logo.svg"}  # the hub serves that one


@pytest.mark.parametrize("path", ["sublet/sublet.css", "sublet/tokens.css", "sublet/flavors.js"])
def test_our_files_are_served_beside_jupyterhubs(path: str) -> None:
    found = StaticFiles.get_absolute_path("/usr/share/jupyterhub/static", path)
    assert Path(found).is_file()


@pytest.mark.parametrize("path", ["css/style.min.css", "sublet/none.css"])
def test_whatever_else_is_looked_for_where_jupyterhub_has_it(path: str) -> None:
    found = StaticFiles.get_absolute_path("/usr/share/jupyterhub/static", path)
    assert found == f"/usr/share/jupyterhub/static/{path}"


@pytest.mark.parametrize("path", ["sublet/../pages.py", "sublet/../../settings.py"])
def test_no_path_leads_out_of_our_folders(path: str) -> None:
    with pytest.raises(HTTPError) as refused:
        StaticFiles.get_absolute_path("/usr/share/jupyterhub/static", path)
    assert refused.value.status_code == 403
