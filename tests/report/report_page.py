"""A report as its readers get it: parsed, every tag closed, and checked to be harmless."""

import re
from html.parser import HTMLParser
from pathlib import Path

from ra3.report import write_report

VOID = {"meta", "br", "img", "link", "input", "hr", "path", "use", "rect", "circle"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; checks that tags close in order."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text, self.style, self._open = "", "", []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self._open == [], f"left open: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text += data


def read_page(folder: Path) -> Page:
    path = write_report(folder)
    assert path == folder / "report.html" and path.stat().st_size < 1_500_000
    page = Page(path)
    assert_harmless(page)
    return page


def assert_harmless(page: Page) -> None:
    """No script, no handler, nothing fetched."""
    assert not {"script", "iframe", "object", "embed", "img", "link", "form", "base", "foreignobject"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name, value in page.attributes:
        if name in ("href", "xlink:href", "src", "action"):
            assert (value or "").startswith("#")
    assert "url(" not in page.style and "@import" not in page.style
    assert all(url.startswith("url(#") for url in re.findall(r"url\([^)]*", page.source))
    assert "default-src 'none'" in page.source[: page.source.index("<style>")]
