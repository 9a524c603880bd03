"""Downloads the source archives of a lock straight from the host's package index.

`pip download` runs a source package's build to learn its requirements. The packages concerned import torch and look
for a compiler there, which the host has not; the lock already holds their requirements. So the archive is taken from
the index page (the "simple" HTML page every index serves) and checked against the hash given there.

Not covered: packages with wheels (`aira_bench.images.wheels`), and indexes reached by extra-index settings.
"""

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import requests

from aira_bench.errors import PrerequisiteError
from aira_bench.images.flavour import normal_name

_PIP_DEFAULT = re.compile(r"Python\s+Package\s+Index\s+\(default\s+(\S+?)\)")
_TIMEOUT_S = 60
_ACCEPTED = {"Accept": "application/vnd.pypi.simple.v1+html, text/html;q=0.5"}
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Link:
    """One file of an index page. `sha256` is empty where the index gives none."""

    url: str
    file_name: str
    sha256: str


def host_index() -> str:
    """Return the package index this host's pip is set to, pip's own default if it is set to none.

    Raises:
        PrerequisiteError: pip names neither.
    """
    if os.environ.get("PIP_INDEX_URL"):
        return os.environ["PIP_INDEX_URL"].rstrip("/")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.stdout.strip():
        return done.stdout.strip().rstrip("/")
    told = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "download", "--help"],
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    default = _PIP_DEFAULT.search(told.stdout)
    if default is None:
        raise PrerequisiteError("pip names no package index.", hint="export PIP_INDEX_URL=...")
    return default[1].rstrip("/")


def fetch_source(pin: str, index: str, folder: Path) -> Path:
    """Download the source archive of `name==version` into `folder`; return its path.

    Raises:
        PrerequisiteError: the index does not answer, has no such archive, or sent other bytes than it announced.
    """
    name, _, version = pin.partition("==")
    page = f"{index}/{normal_name(name)}/"
    hint = "python3 -m pip config list (index-url must name an index that has the archive)"
    try:
        with requests.Session() as session:
            # pip's own setting for a certificate authority counts here as well.
            session.verify = os.environ.get("PIP_CERT") or True
            answer = session.get(page, headers=_ACCEPTED, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            link = _source_link(parse_page(answer.text, answer.url), normal_name(name), version)
            if link is None:
                raise PrerequisiteError(f"The package index has no source archive of {pin}.", hint=hint)
            return _save(session, link, folder)
    except requests.RequestException as error:
        raise PrerequisiteError(f"The source archive of {pin} could not be downloaded: {error}", hint=hint) from error


def parse_page(html: str, base_url: str) -> list[Link]:
    """Files of an index page in the layout of PEP 503, in page order."""
    parser = _Anchors()
    parser.feed(html)
    links = []
    for address in parser.addresses:
        url, fragment = urldefrag(urljoin(base_url, address))
        name = unquote(url.rpartition("/")[2])
        links.append(Link(url, name, fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""))
    return links


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the target of every link."""
        address = dict(attrs).get("href")
        if tag == "a" and address:
            self.addresses.append(address)


def _source_link(links: list[Link], name: str, version: str) -> Link | None:
    for link in links:
        stem = link.file_name.removesuffix(".tar.gz")
        if stem == link.file_name:
            continue
        found_name, _, found_version = stem.rpartition("-")
        if (normal_name(found_name), found_version.lower()) == (name, version.lower()):
            return link
    return None


def _save(session: requests.Session, link: Link, folder: Path) -> Path:
    """Write to a temporary name first: a file under its own name is always whole."""
    path, partial = folder / link.file_name, folder / f"{link.file_name}.part"
    digest = hashlib.sha256()
    with session.get(link.url, stream=True, timeout=_TIMEOUT_S) as answer, partial.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_content(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    if link.sha256 and digest.hexdigest() != link.sha256:
        partial.unlink()
        raise PrerequisiteError(
            f"{link.file_name} has hash {digest.hexdigest()[:12]}, expected {link.sha256[:12]} as the index says.",
            hint="the same command again",
        )
    return partial.replace(path)
