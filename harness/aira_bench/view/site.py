"""Which pages there are, by their paths, and what each is made of: for the server, and for a folder of pages.

    index.html                     the suite: all runs of the folder
    runs/RUN/index.html            a run
    runs/RUN/SEED-STEP.html        a step
    runs/RUN/SEED-STEP.WHAT.txt    its code, difference, output, prompt, answer or artifact in full
    runs/RUN/CHART.csv             what a chart draws; of a step's page SEED-STEP.CHART.csv
    compare/RUN/WHAT/RUN/WHAT.html two runs (WHAT is `run`) or two steps (SEED-STEP) side by side
    static/FILE                    styles and scripts

Addresses in pages are relative, so they hold under any token and on disk.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from urllib.parse import quote

from aira_bench.looking.opened import WHATS
from aira_bench.record.folder import RunFolder
from aira_bench.view.page_source import PageSource
from aira_bench.view.rendering import FILE_POLICY, render
from aira_bench.view.static_files import TYPES, static_file

HTML, CSV, PLAIN = "text/html; charset=utf-8", "text/csv; charset=utf-8", "text/plain; charset=utf-8"
_RUN = re.compile(r"runs/([A-Za-z0-9][A-Za-z0-9._-]{0,99})/([a-z0-9.-]{1,80})", re.ASCII)
_PLACE = r"([\w.-]{1,100})/(run|\d{1,10}-\d{1,7})"
_COMPARE = re.compile(rf"compare/{_PLACE}/{_PLACE}\.(html|csv)", re.ASCII)
_STEP = re.compile(r"(\d{1,10})-(\d{1,7})(?:\.([a-z]{1,10}))?\.(html|txt)", re.ASCII)
_STEP_CHART = re.compile(r"(\d{1,10})-(\d{1,7})\.([a-z]{1,20}\.csv)", re.ASCII)


@dataclass(frozen=True)
class Content:
    """What lies at a path."""

    media_type: str
    body: bytes


class Site:
    """The pages of the runs of one folder."""

    def __init__(self, source: PageSource) -> None:
        """Hand out what is made of a source; no page is made yet."""
        self.source = source

    def content(self, path: str) -> Content | None:
        """Return what lies at a path; None where nothing does.

        Args:
            path: below the first page's folder, without a leading slash.
        """
        if path.startswith("static/"):
            file = static_file(path.removeprefix("static/"))
            return Content(TYPES[file.suffix], file.read_bytes()) if file else None
        # Of before the page is made: what changes while it is made is news to it.
        version = self.version(path) if self.source.follows else ""
        if path in ("", "index.html"):
            return Content(HTML, self._page("suite.html.j2", "", version, page=self.source.suite_page()))
        if (found := _RUN.fullmatch(path)) is not None:
            folder = self.source.folders().get(found[1])
            return None if folder is None else self._of_run(folder, found[2], version)
        if (compared := _COMPARE.fullmatch(path)) is not None:
            return self._compared((compared[1], compared[2]), (compared[3], compared[4]), compared[5], version)
        chart = next((each for each in self.source.suite_page().all_charts if each.file == path), None)
        return Content(CSV, chart.csv.encode()) if chart else None

    def version(self, path: str) -> str:
        """Return what changes when the page at a path does; no run is read for it."""
        known = self.source.folders()
        runs, compared = _RUN.fullmatch(path), _COMPARE.fullmatch(path)
        names = [runs[1]] if runs else [compared[1], compared[3]] if compared else list(known)
        folders = [known[name] for name in names if name in known]
        said = json.dumps(self.source.facts(folders, with_board=not (runs or compared)))
        return hashlib.sha256(said.encode("ascii")).hexdigest()

    def run_at(self, path: str) -> RunFolder:
        """Return the run that a page is of.

        Raises:
            KeyError: it is no page of a run.
        """
        found = _RUN.fullmatch(path)
        return self.source.folders()[found[1] if found else ""]

    def close(self) -> None:
        """End what is done beside."""
        self.source.close()

    def _compared(self, left: tuple[str, str], right: tuple[str, str], kind: str, version: str) -> Content | None:
        page = self.source.compare_page(left, right)
        if page is None or (kind == "csv" and not page.charts):
            return None
        if kind == "csv":
            return Content(CSV, page.charts[0].csv.encode())
        return Content(HTML, self._page("compare.html.j2", "../../../../", version, page=page))

    def _of_run(self, folder: RunFolder, name: str, version: str) -> Content | None:
        if name == "index.html":
            return Content(HTML, self._page("run.html.j2", "../../", version, page=self.source.run_page(folder)))
        if (found := _STEP.fullmatch(name)) is not None:
            seed, step, what, kind = int(found[1]), int(found[2]), found[3], found[4]
            if kind == "html" and what is None:
                page = self.source.node_page(folder, seed, step)
                return Content(HTML, self._page("node.html.j2", "../../", version, page=page)) if page else None
            text = self.source.text(folder, seed, step, what) if kind == "txt" and what in WHATS else None
            return None if text is None else Content(PLAIN, text.encode("utf-8", "backslashreplace"))
        if (of_step := _STEP_CHART.fullmatch(name)) is not None:
            page = self.source.node_page(folder, int(of_step[1]), int(of_step[2]))
            charts, name = page.charts if page else (), of_step[3]
        else:
            charts = self.source.charts(folder)
        chart = next((each for each in charts if each.file == name), None)
        return Content(CSV, chart.csv.encode()) if chart else None

    def _page(self, template: str, root: str, version: str, **values: object) -> bytes:
        return render(
            template,
            root=root,
            follows=self.source.follows,
            version=version,
            policy="" if self.source.follows else FILE_POLICY,
            quote=quote,
            compared=lambda path: self.source.pairs is None or path in self.source.pairs.files,
            **values,
        )
