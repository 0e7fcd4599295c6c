"""Every page of the built book, at the width of a desk and of a phone, in light and dark: does all of it work?"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from conftest import BUILD, SCHEMES, SCREENS, Visitor, open_context, some_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE_BYTES = 1_500_000
BOOK_BYTES = 40_000_000  # with the notebooks and records to take away
HASHED = re.compile(r"[0-9a-f]{16,}|\.(png|jpe?g|svg)$", flags=re.IGNORECASE)


class TestFiles:
    """What needs no browser."""

    def test_there_is_a_book_and_its_start_leads_to_the_first_page(self) -> None:
        assert some_page().is_file()
        text = (BUILD / "index.html").read_text(encoding="utf-8")
        found = re.search(r'http-equiv="refresh"[^>]*url=([^"]+)', text, flags=re.IGNORECASE)
        assert found is None or (BUILD / found[1]).is_file()

    def test_the_book_is_not_too_large(self) -> None:
        sizes = {path: path.stat().st_size for path in BUILD.rglob("*") if path.is_file()}
        largest = {str(path): sizes[path] for path in sorted(sizes, key=sizes.get)[-5:]}
        assert sum(sizes.values()) < BOOK_BYTES, largest

    def test_a_page_is_not_too_large_and_its_links_lead_somewhere(self, path: Path) -> None:
        assert path.stat().st_size < PAGE_BYTES
        assert [link for link in parsed(path)[1] if not leads(path, link)] == []


@functools.cache
def parsed(path: Path) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return what can be linked to on a page, and what it links to or loads from the book."""
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    anchors = {value for tag in soup.find_all(True) for value in (tag.get("id"), tag.get("name")) if value}
    tags = soup.find_all(["a", "link", "script", "img", "source"])
    found = dict.fromkeys(tag.get("href") or tag.get("src") for tag in tags)
    inside = [link for link in found if link and not urlsplit(link).scheme and not link.startswith("//")]
    return frozenset(anchors), tuple(inside)


def leads(path: Path, link: str) -> bool:
    """Whether a link from a page leads to a file of the book, and to a place in it."""
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_relative_to(BUILD) or not target.is_file():
        return False
    fragment = unquote(parts.fragment)
    return not fragment or target.suffix != ".html" or fragment in parsed(target)[0]


def problems(found: dict[str, Any], scheme: str) -> list[str]:
    """Say what is wrong with a page as probe.js has found it."""
    bright, images = sum(found["background"]) > 3 * 128, found["images"]
    textless = [image for image in images if not image["alt"].strip() or HASHED.search(image["alt"])]
    listed = {
        "scrolls sideways": found["scrolls"],
        "image is missing": [image["source"] for image in images if not image["width"]],
        "image without a text": [image["source"] for image in textless],
        "formula is not set": found["formulas"],
        "formula has an error": found["wrong"],
        "raw TeX": found["raw"],
        "interactive figure stays as it is": found["dead"],
        "theme does not follow the system": [found["theme"]] if found["theme"] != scheme else [],
        "background is not that of the theme": [found["background"]] if bright != (scheme == "light") else [],
    }
    return [f"{what}: {one}" for what, which in listed.items() for one in which]


class TestPages:
    def test_page(self, visitor: Visitor, path: Path) -> None:
        visitor.visit(path)
        told = []
        for scheme in SCHEMES:
            found = visitor.probe(scheme)
            told += [problem for problem in problems(found, scheme) if problem not in told]
        told += visitor.heard
        assert not told, "\n".join(["", *told])
        assert found["title"].strip()

    def test_theme_switch(self, browser: Browser) -> None:
        """By keyboard through all its positions; the choice outlasts the page."""
        context = open_context(browser, "desk")
        page = context.new_page()
        page.goto(some_page().as_uri())
        switch = page.locator("button.theme-switch-button:visible").first
        seen = {}
        for _ in range(3):
            switch.focus()
            page.keyboard.press("Enter")
            mode = page.evaluate("document.documentElement.dataset.mode")
            page.reload()
            assert page.evaluate("document.documentElement.dataset.mode") == mode
            theme = page.evaluate("document.documentElement.dataset.theme")
            seen[mode] = theme, page.evaluate("getComputedStyle(document.body).backgroundColor")
        context.close()
        shown = {mode: theme for mode, (theme, _) in seen.items()}
        assert shown == {"auto": "light", "light": "light", "dark": "dark"}
        assert seen["light"][1] != seen["dark"][1]

    def test_search_finds_a_word(self, desk: Visitor) -> None:
        assert some_page()
        desk.page.goto((BUILD / "search.html").as_uri() + "?q=shapley")
        desk.page.wait_for_selector("#search-results li a")
        assert desk.page.locator("#search-results li").count() > 1


class TestWithoutScript:
    @pytest.fixture(scope="class")
    def plain(self, browser: Browser):
        context = open_context(browser, "desk", java_script_enabled=False)
        yield context.new_page()
        context.close()

    def test_static_figures_are_seen(self, plain, lively: Path) -> None:
        plain.goto(lively.as_uri())
        for figure in plain.locator(".fercore-figure").all():
            assert figure.locator(".fercore-static, table").first.is_visible()
            assert not figure.locator(".fercore-interactive").count()

    def test_static_figures_are_printed(self, desk: Visitor, lively: Path) -> None:
        desk.visit(lively)
        desk.page.emulate_media(media="print")
        desk.page.set_viewport_size({"width": 700, "height": 1000})  # a sheet of A4 within its margins
        try:
            for figure in desk.page.locator(".fercore-figure").all():
                assert figure.locator(".fercore-static, table").first.is_visible()
                assert not any(part.is_visible() for part in figure.locator(".fercore-interactive").all())
            cut = "parts => parts.filter((part) => part.scrollWidth > part.clientWidth + 1).length"
            assert desk.page.locator("pre").evaluate_all(cut) == 0, "code is cut off on paper"
        finally:
            desk.page.emulate_media(media="screen")
            width, height, _ = SCREENS["desk"]
            desk.page.set_viewport_size({"width": width, "height": height})
