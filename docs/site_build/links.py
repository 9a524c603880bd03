"""Links of pages: from places in the repository to places on the site, and whether what was built holds.

Not covered: addresses elsewhere on the web, which nobody may have to reach for the site to be built.
"""

import html.parser
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {name: f"project/{name.lower()}" for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")}
"""Documents beside `docs/`, and the pages that they are on the site."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]`]|`[^`]*`|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"(^```(?s:.*?)^```$|^(?: {4}.*\n)+)", re.MULTILINE)


def source_of(page: str) -> str:
    """Return the path in the repository of a page of the site."""
    outside = {there: here for here, there in OUTSIDE.items()}
    return outside.get(page, f"docs/{page}")


def relinked(markdown: str, page: str) -> str:
    """Return a page whose links to files of the repository lead to pages of the site, or are the file's name alone.

    Code is left as it is. Links between pages of `docs/` stay as they are, for MkDocs to check.

    Args:
        markdown: the page, with links as they hold in the repository.
        page: its path on the site, such as `decisions/0001-reader-container.md`.

    Raises:
        FileNotFoundError: a link leads to a file that the repository does not have.
    """
    parts = _FENCED.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(lambda found: _link(found, page), part)
                   for number, part in enumerate(parts))  # fmt: skip


def _link(found: re.Match[str], page: str) -> str:
    picture, words, target = found.groups()
    address = urlsplit(target)
    if address.scheme or address.netloc or not address.path:
        return found[0]
    here = posixpath.dirname(source_of(page))
    place = posixpath.normpath(posixpath.join(here, address.path))
    if place.startswith("docs/") and here.startswith("docs"):
        return found[0]
    if not (ROOT / place).exists():
        raise FileNotFoundError(f"{page} links to {place}, which is not there")
    there = OUTSIDE.get(place, place.removeprefix("docs/") if place.startswith("docs/") else None)
    if picture:
        there = f"files/{place}"
    if there is None or (ROOT / place).is_dir():
        return f"{words} (`{place}`)" if words.strip("`") != place else f"`{place}`"
    away = posixpath.relpath(there, posixpath.dirname(page) or ".")
    return f"{picture}[{words}]({away}{'#' + address.fragment if address.fragment else ''})"


def pictures_outside(markdown: str, page: str) -> Iterator[str]:
    """Paths in the repository of the pictures that a page shows from outside `docs/`."""
    for picture, _, target in _LINK.findall(_FENCED.sub("", markdown)):
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source_of(page)), target))
        if picture and "://" not in target and not place.startswith("docs/"):
            yield place


class _Page(html.parser.HTMLParser):
    """What a page of the site links to, loads, and can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.spoilt: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.names |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in ("img", "script", "iframe", "source") and found.get("src"):
            self.loads.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.loads.append(found.get("href", ""))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "p" and re.match(r"(\| |- |```|\d+\. )", data):
            self.spoilt.append(data.splitlines()[0][:60])


def problems_of(site: Path) -> list[str]:
    """Return what does not hold in a built site: dead links, what is loaded from elsewhere, spoilt Markdown."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    return [
        f"{path.relative_to(site)}: {what}" for path, page in pages.items() for what in _problems(path, page, pages)
    ]


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def _problems(path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    for target in page.loads:
        if urlsplit(target).scheme not in ("", "data") or urlsplit(target).netloc:
            yield f"loads {target}"
    for target in [*page.links, *page.loads]:
        address = urlsplit(target)
        if address.scheme or address.netloc:
            continue
        there = (path.parent / unquote(address.path)).resolve() if address.path else path
        if there.is_dir():
            there /= "index.html"
        if not there.exists():
            yield f"links to {target}, which is not there"
        elif address.fragment and there in pages and unquote(address.fragment) not in pages[there].names:
            yield f"links to {target}, a place that {PurePosixPath(there).name} does not have"
    for text in page.spoilt:
        yield f"shows Markdown as it is: {text}"
