"""Links of the site's pages lead somewhere, nothing is loaded from elsewhere, and every document is in the navigation."""

import re
from pathlib import Path

import pytest
import yaml

from site_build.links import OUTSIDE, pictures_outside, problems_of, relinked, source_of
from site_build.navigation import Parts, whole

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("page", "link", "found"),
    [
        ("boards.md", "[a](mad.md#score)", "[a](mad.md#score)"),
        ("decisions/0044-what-everybody-has.md", "[a](../mad.md)", "[a](../mad.md)"),
        ("boards.md", "[a](../SECURITY.md#limits)", "[a](project/security.md#limits)"),
        ("reference/index.md", "[a](../../README.md)", "[a](../project/readme.md)"),
        ("project/readme.md", "[a](docs/boards.md#verify)", "[a](../boards.md#verify)"),
        ("project/readme.md", "[CONTRIBUTING.md](CONTRIBUTING.md)", "[CONTRIBUTING.md](contributing.md)"),
        ("boards.md", "[the pack](../results/reference)", "the pack (`results/reference`)"),
        ("boards.md", "[`results/reference`](../results/reference)", "`results/reference`"),
        (
            "boards.md",
            "![p](../bench/tables/mad_2p_cpu/searchers.svg)",
            "![p](files/bench/tables/mad_2p_cpu/searchers.svg)",
        ),
        ("boards.md", "[web](https://example.org/a.md)", "[web](https://example.org/a.md)"),
        ("boards.md", "[here](#verify)", "[here](#verify)"),
        ("boards.md", "    [code](../none.md)\n", "    [code](../none.md)\n"),
        ("boards.md", "```text\n[code](../none.md)\n```\n", "```text\n[code](../none.md)\n```\n"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page: str, link: str, found: str) -> None:
    assert relinked(link, page) == found


def test_a_link_to_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match=r"boards\.md links to none\.md"):
        relinked("[a](../none.md)", "boards.md")


def test_pictures_from_outside_are_found() -> None:
    markdown = "![a](../bench/x.svg) [b](../bench/y.svg) ![c](assets/z.svg)\n    ![d](../in/code.svg)\n"
    assert list(pictures_outside(markdown, "searchers.md")) == ["bench/x.svg"]


def write_site(folder: Path, body: str) -> Path:
    (folder / "index.html").write_text(f"<html><body>{body}</body></html>", encoding="utf-8")
    (folder / "other.html").write_text('<html><body><h2 id="there">a</h2></body></html>', encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="other.html#there">a</a><a href="https://example.org">b</a><img src="data:image/png;base64,a">', ""),
        ('<a href="gone.html">a</a>', "links to gone.html, which is not there"),
        ('<a href="other.html#gone">a</a>', "links to other.html#gone, a place that other.html does not have"),
        ('<a href="#gone">a</a>', "links to #gone, a place that index.html does not have"),
        ('<script src="https://example.org/a.js"></script>', "loads https://example.org/a.js"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "loads //example.org/a.css"),
        ('<img src="gone.png">', "links to gone.png, which is not there"),
        ("<p>| a | b |</p>", "shows Markdown as it is: | a | b |"),
        ("<p>a<br>b</p><pre><code>| a | b |</code></pre>", ""),
    ],
)
def test_what_does_not_hold_in_a_built_site_is_found(tmp_path: Path, body: str, problem: str) -> None:
    found = problems_of(write_site(tmp_path, body))
    assert found[:1] == ([f"index.html: {problem}"] if problem else [])


class _Loader(yaml.SafeLoader):
    """Of a file with tags of Python's, which MkDocs knows."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def listed() -> Parts:
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    parts: Parts = settings["nav"]
    return parts


def test_every_document_is_in_the_navigation_once_and_every_entry_is_a_document() -> None:
    pages = [page for part in whole(listed()) for pages in part.values() for page in pages]
    assert len(pages) == len(set(pages))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(pages) - set(OUTSIDE.values()) == written
    assert all((ROOT / source_of(page)).is_file() for page in pages)


def test_a_page_that_no_part_lists_comes_last() -> None:
    parts: Parts = [
        {title: [page for page in pages if page != "boards.md"]} for part in listed() for title, pages in part.items()
    ]
    assert "boards.md" in whole(parts)[-1]["More"]
    assert whole(parts)[-2]["Decisions"][:1] == ["decisions/index.md"]


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_links_of_every_document_can_be_led_to_the_site(path: Path) -> None:
    made = relinked(path.read_text(encoding="utf-8"), path.relative_to(DOCS).as_posix())
    assert not re.search(r"\]\((?:\.\./)+(?:README|SECURITY|CONTRIBUTING|CHANGELOG)", made)


def test_nothing_is_loaded_from_elsewhere_by_the_theme() -> None:
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    assert settings["theme"]["font"] is False
    assert settings["strict"] is True
    assert "repo_url" not in settings, "its figures would be fetched by the page"
