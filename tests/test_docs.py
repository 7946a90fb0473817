"""The documentation names only what is there: files and tests; the metrics page is the glossary."""

import re
from pathlib import Path

import pytest
from metrics_page import metrics_page
from reference_page import reference_page
from settings_page import settings_page
from test_structure import ORDER

from ra3 import __version__

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_the_settings_page_is_the_settings():
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == settings_page()


def test_the_reference_page_is_the_docstrings():
    assert (ROOT / "docs/reference.md").read_text(encoding="utf-8") == reference_page()


def heading_anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site and the repository make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pages
def test_anchors_exist(page):
    links = re.findall(r"\]\(((?:[\w/-]+\.md)?)#([\w-]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if link[1] not in heading_anchors(page.parent / link[0] if link[0] else page)] == []


def test_the_site_has_every_page():
    named = set(re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_versions_agree():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_metrics_page_is_the_glossary():
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == metrics_page()


@pages
def test_links_and_files_exist(page):
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in re.findall(r"(?<!!)\[[^\]]*\]\((?!http)([^)#]+)[^)]*\)", text)]
    folders = "ra3|tests|docs|recipes|perf|theory"
    files = [ROOT / name for name in re.findall(rf"(?<![\w/])(?:{folders})/[\w./-]+\.\w+", text)]
    pictures = {ROOT / "docs/demo.png"}
    assert [str(path) for path in {*links, *files} - pictures if not path.exists()] == []


@pages
def test_tests_exist(page):
    for file, name in re.findall(r"(tests/\w+\.py)::(\w+)", page.read_text(encoding="utf-8")):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_architecture_names_every_module():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert [unit for unit in ORDER if not re.search(rf"`{re.escape(unit)}`", text)] == []
