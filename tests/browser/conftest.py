"""The built book in a headless browser that may read files and nothing else: what `make browse` runs.

``FERCORE_BOOK`` names another folder than ``_build/html``, ``FERCORE_CHROMIUM`` another browser than the first of
:data:`BROWSERS` on the path. No browser is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("FERCORE_BOOK") or ROOT / "_build" / "html").resolve()
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROBE = Path(__file__).with_name("probe.js").read_text(encoding="utf-8")
ELSEWHERE = re.compile(r"^(?!file:|data:|blob:|about:)")
# The theme preloads its icons as from another site, which a page that was opened as a file may not; then it loads them
# in earnest, which it may.
TOLERATED = re.compile(r"^file:.*/webfonts/fa-[\w-]+\.woff2$")
REDIRECT = re.compile(r'<meta http-equiv="refresh"', flags=re.IGNORECASE)
SCHEMES = ("light", "dark")
# Name -> width and height in pixels, and what the system prefers when a page is opened.
SCREENS = {"desk": (1440, 900, "light"), "phone": (390, 844, "dark")}


def pages() -> list[Path]:
    """Return every page of the book; a page that only points to another is left out."""
    found = sorted(path for path in BUILD.rglob("*.html") if "_static" not in path.parts)
    return [path for path in found if not REDIRECT.search(path.read_text(encoding="utf-8")[:500])]


def some_page() -> Path:
    """Return any page, for what is the same on all."""
    assert pages(), f"There is no book in {BUILD}: run `make book` first."
    return pages()[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for ``path`` every page, one that asks for ``lively`` those with interactive figures."""
    for name, mark in (("path", ""), ("lively", 'class="fercore-figure"')):
        if name in metafunc.fixturenames:
            found = [path for path in pages() if mark in path.read_text(encoding="utf-8")]
            metafunc.parametrize(name, found, ids=lambda path: path.relative_to(BUILD).as_posix())


def find_browser() -> str:
    """Return the browser's path, or skip; one that is named and absent is an error."""
    wanted = os.environ.get("FERCORE_CHROMIUM")
    found = next(filter(None, map(shutil.which, [wanted] if wanted else BROWSERS)), None)
    assert found or not wanted, (
        f"FERCORE_CHROMIUM={wanted} is not an executable file or a command on the path."
    )
    return found or pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}, or set FERCORE_CHROMIUM")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    path = find_browser()
    sync_api = pytest.importorskip("playwright.sync_api", reason='pip install -e ".[browser]" first')
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path)
        yield running
        running.close()


def open_context(browser: Browser, screen: str, **options: Any) -> BrowserContext:
    """Open a window without a network."""
    width, height, scheme = SCREENS[screen]
    options |= {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    context = browser.new_context(reduced_motion="reduce", offline=True, **options)
    context.set_default_timeout(10_000)
    context.route(ELSEWHERE, lambda route: route.abort())
    return context


@dataclass
class Visitor:
    """A tab that goes from page to page and hears what goes wrong there."""

    page: Page
    heard: list[str] = field(default_factory=list)  # since the last visit: errors, and requests to elsewhere

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.heard.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("request", self._request)
        self.page.on("console", self._console)

    def _request(self, request: Any) -> None:
        if ELSEWHERE.match(request.url):
            self.heard.append(f"asks elsewhere: {request.url[:200]}")

    def _failed(self, request: Any) -> None:
        # What the tab had not yet loaded of the page before is aborted when it goes on.
        if not TOLERATED.match(request.url) and request.failure != "net::ERR_ABORTED":
            self.heard.append(f"not loaded: {request.url[:200]}")

    def _console(self, message: Any) -> None:
        font = TOLERATED.match(message.location["url"]) or message.text.startswith("Access to font at 'file:")
        if message.type == "error" and not font:
            self.heard.append(f"console: {message.text[:200]}")

    def visit(self, path: Path) -> None:
        """Open a page and wait until all of it is there."""
        self.heard.clear()
        self.page.goto(path.as_uri())

    def probe(self, scheme: str) -> dict[str, Any]:
        """Return what probe.js finds on the page, when the system prefers a light or a dark scheme."""
        self.page.emulate_media(color_scheme=scheme)
        return self.page.evaluate(PROBE)


def tab(browser: Browser, screen: str) -> Iterator[Visitor]:
    context = open_context(browser, screen)
    yield Visitor(context.new_page())
    context.close()


@pytest.fixture(scope="session", params=list(SCREENS))
def visitor(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Visitor]:
    """One tab for each screen, whose tests run one after the other."""
    yield from tab(browser, request.param)


@pytest.fixture(scope="session")
def desk(browser: Browser) -> Iterator[Visitor]:
    """A tab on a wide, light screen."""
    yield from tab(browser, "desk")
