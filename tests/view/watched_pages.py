"""Pages in a real headless Chromium that is watched: what it asks for, what it complains of, what runs in it.

The browser is the system's (`chromium`, or Chrome), never one that is downloaded. Not covered: other browsers.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

from hostile_text import is_raw

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRAWN = (
    "[...document.querySelectorAll('section.chart')].every("
    "each => each.dataset.drawn === 'yes' || each.closest('details:not([open])'))"
)
"""What lies in a part that is closed is drawn when that is opened."""
TEXT = """() => {
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    const found = [document.title];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (node.parentElement.closest('script, style')) continue;
        found.push(node.parentElement.closest('.figure') ? node.data.replaceAll('\u200b', '') : node.data);
    }
    return found.join(' ');
}"""
"""All text of a page, folded or not, without the mark that Plotly puts into empty lines."""
WAIT_MS = 20_000


def launched(playwright: Playwright) -> Browser:
    """Start the system's Chromium. Where there is none the test fails: pages that nobody has opened are not tested."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    assert found is not None, (
        f"no {' or '.join(NAMES)}: sh tests/chromium.sh installs it; -m 'not browser' goes without"
    )
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
    return playwright.chromium.launch(executable_path=found, args=[*root, "--disable-dev-shm-usage", "--disable-gpu"])


@dataclass
class WatchedPage:
    """One tab, and everything about it that should not be."""

    page: Page
    allowed: tuple[str, ...]
    """How the addresses begin that it may ask for."""
    shots: Path
    problems: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, address: str, *, shot: str = "") -> None:
        """Open a page, wait until its charts are drawn, and look at it."""
        response = self.page.goto(address, wait_until="load", timeout=WAIT_MS)
        assert response is None or response.ok, f"{response.status} at {address}"
        self.settle()
        if shot:
            self.shot(shot)

    def settle(self) -> None:
        """Wait until all charts are drawn, then check that nothing is wrong with the page."""
        self.wait_until(DRAWN)
        self.check()

    def wait_until(self, expression: str, seconds: float = WAIT_MS / 1000) -> None:
        """Wait until an expression holds in the page. Playwright's own way polls by `eval`, which pages forbid."""
        ends_s = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < ends_s, f"after {seconds:g} s it does not hold: {expression}"
            self.page.wait_for_timeout(50)

    def check(self) -> None:
        """Nothing of an agent's ran, nothing was asked for elsewhere, nothing is shown raw, nothing was complained of."""
        assert self.page.evaluate("window.owned") is None, "a script of an agent's ran"
        assert not self.problems, self.problems[:5]
        shown = self.page.evaluate(TEXT)
        raw = re.sub(r"[\n\t]", "", shown)
        assert not is_raw(raw), [ascii(each) for each in raw if is_raw(each)][:10]
        assert self.page.locator("h1").count() == 1
        for attribute in ("src", "href", "action", "formaction", "data", "poster", "srcset"):
            for value in self.page.locator(f"[{attribute}]").evaluate_all(
                f"all => all.map(each => each.getAttribute('{attribute}'))"
            ):
                address = urljoin(self.page.url, value)
                assert address.startswith((*self.allowed, "data:", "#")), f"{attribute}={value!r}"

    def shot(self, name: str) -> None:
        """Keep a picture of the whole page, of at most 6,000 pixels."""
        self.shots.mkdir(parents=True, exist_ok=True)
        size = self.page.viewport_size or {"width": 1280, "height": 800}
        whole = int(self.page.evaluate("document.documentElement.scrollHeight"))
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(whole, 6000)}
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=True, clip=clip)  # type: ignore[arg-type]

    def unfold(self) -> None:
        """Open all that is folded, and wait for the charts in it."""
        self.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        self.page.wait_for_timeout(50)
        self.settle()

    def links(self) -> list[str]:
        """Addresses of the pages that this one leads to, whole, without fragments, each once."""
        found = self.page.locator("a[href]:not([download])").evaluate_all("all => all.map(each => each.href)")
        return list(dict.fromkeys(each.split("#")[0] for each in found))

    def files(self) -> list[str]:
        """Addresses of the files that this page offers."""
        found = self.page.locator("a[href][download]").evaluate_all("all => all.map(each => each.href)")
        return list(dict.fromkeys(found))


@contextmanager
def watched(browser: Browser, allowed: tuple[str, ...], shots: Path, **settings: object) -> Iterator[WatchedPage]:
    """Open a tab in which everything is noted; `settings` are Playwright's, of the window."""
    context = browser.new_context(service_workers="block", **settings)  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    tab = WatchedPage(page, allowed, shots)

    def complained(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            tab.problems.append(f"{message.type}: {message.text[:300]}")

    def asked(request: Request) -> None:
        tab.asked.append(request.url)
        if not request.url.startswith((*allowed, "data:", "blob:")):
            tab.problems.append(f"asked for {request.url[:200]}")

    page.on("console", complained)
    page.on("pageerror", lambda error: tab.problems.append(f"error: {str(error)[:300]}"))
    page.on("dialog", lambda dialog: (tab.problems.append(f"dialog: {dialog.message[:100]}"), dialog.dismiss()))
    page.on("popup", lambda other: tab.problems.append(f"window: {other.url[:100]}"))

    def failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a question on its way when the page was left
            tab.problems.append(f"failed: {request.url[:200]} {request.failure}")

    page.on("requestfailed", failed)
    context.on("request", asked)
    try:
        yield tab
    finally:
        context.close()


def walk(
    tab: WatchedPage, first: str, *, seen: Callable[[str], None] = lambda address: None, most: int = 200
) -> list[str]:
    """Click through every page that can be reached; return their addresses. `seen` is told of each while it is open."""
    waiting, known = [first], {first}
    visited = []
    while waiting:
        address = waiting.pop(0)
        tab.open(address)
        visited.append(address)
        assert len(visited) <= most, "pages lead to ever more pages"
        seen(address)
        for link in tab.links():
            if link not in known:
                known.add(link)
                waiting.append(link)
    return visited


def shot_name(prefix: str, address: str) -> str:
    """A file name for the picture of a page."""
    found = urlsplit(address)
    parts = found.path.rstrip("/").split("/")[2 if found.scheme == "http" else -2 :][
        -2:
    ]  # a server's begins with its token
    return re.sub(r"[^A-Za-z0-9.-]+", "-", f"{prefix}-{'-'.join(parts)}").removesuffix(".html")
