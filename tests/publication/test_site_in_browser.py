"""A board's site in a real browser, from disk and offline: nothing is loaded, nothing is wider than the window.

Skipped where no browser is at hand: `pip install playwright`, and chromium of the system or of `playwright install`.
"""

import shutil
from pathlib import Path

import pytest

from aira_bench.boards.order import with_ranks
from aira_bench.publication.pages import site
from boards.made_boards import made_tables

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_fit_their_window_and_ask_for_nothing(tmp_path: Path, size: str, scheme: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    pages = site(with_ranks(made_tables()), [], ["board.json"])
    for name, text in pages.items():
        (tmp_path / name).write_text(text)
    width, height = SIZES[size]
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        window = {"width": width, "height": height}
        page = chromium.new_context(viewport=window, color_scheme=scheme, offline=True).new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("requestfailed", lambda request: said.append(request.url))
        for name in pages:
            page.goto((tmp_path / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
            assert dark == (scheme == "dark")
            for text in page.query_selector_all("svg text"):
                box = text.bounding_box()
                assert box["x"] >= 0, f"{name}: {text.inner_html()} begins left of the window"
                assert box["x"] + box["width"] <= width, f"{name}: {text.inner_html()} is cut"
        chromium.close()
    assert said == []
