"""What MkDocs calls while it builds the site: pages from elsewhere in the repository, what is made from code, search.

A problem is a warning, which `mkdocs build --strict` fails on.
"""

import json
import logging
import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from site_build.filling import filled
from site_build.links import OUTSIDE, ROOT, pictures_outside, problems_of, relinked
from site_build.navigation import whole
from site_build.record_types import schema_files

_log = logging.getLogger("mkdocs.plugins.site_build")
_FENCE = re.compile(r"^```([a-z]+) [a-z -]+$", re.MULTILINE)
"""A block marked for a test, such as `console containers`; Markdown knows its language alone."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision and every page into the navigation."""
    config.nav = whole(config.nav or [])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add documents that lie beside `docs/`, pictures of them all, and the JSON Schemas."""
    for name, page in OUTSIDE.items():
        content = f"---\ntitle: {name.removesuffix('.md')}\n---\n{(ROOT / name).read_text(encoding='utf-8')}"
        files.append(File.generated(config, page, content=content))
    pictures = {
        place for file in files.documentation_pages() for place in pictures_outside(file.content_string, file.src_uri)
    }
    for place in sorted(pictures):
        files.append(File.generated(config, f"files/{place}", abs_src_path=str(ROOT / place)))
    for name, content in schema_files().items():
        files.append(File.generated(config, f"reference/schemas/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is made from the code, and lead links to the pages of the site."""
    try:
        return _FENCE.sub(r"```\1", filled(relinked(markdown, page.file.src_uri)))
    except (FileNotFoundError, KeyError) as error:
        _log.warning("%s: %s", page.file.src_uri, error)
        return markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Make search work in pages opened from disk, and look at all that was built."""
    site = Path(config.site_dir)
    (site / "404.html").unlink()  # of a server, with addresses from its root
    index = site / "search" / "search_index.json"
    index.with_suffix(".js").write_text(f"var __index = {index.read_text(encoding='utf-8')}", encoding="utf-8")
    (worker,) = (site / "assets" / "javascripts" / "workers").glob("search.*.min.js")
    source = re.sub(r"//# sourceMappingURL=.*", "", worker.read_text(encoding="utf-8"))
    (site / "assets" / "offline.js").write_text(_SEARCH_FROM_DISK % json.dumps(source), encoding="utf-8")
    for problem in problems_of(site):
        _log.warning("%s", problem)


_SEARCH_FROM_DISK = """// A browser starts no worker from a file; here it is given the worker's text.
if (location.protocol === "file:") {
  const source = %s;
  const Original = window.Worker;
  window.Worker = class extends Original {
    constructor() { super(URL.createObjectURL(new Blob([source], {type: "text/javascript"}))); }
  };
}
"""
