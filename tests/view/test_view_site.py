"""Pages, a report and the server: what is served, what is not, and that text of agents is data everywhere."""

import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.errors import UsageError
from aira_bench.keys import KeyFolder
from aira_bench.view.index import RunIndex
from aira_bench.view.page_source import PageSource
from aira_bench.view.pages import slug
from aira_bench.view.report import write_report
from aira_bench.view.server import new_token, serving
from aira_bench.view.site import Site
from hostile_text import is_raw
from shown_runs import MARKUP, Machine, all_kinds, compose_run, hostile_run


def site_of(machine: Machine, *, follows: bool = False) -> Site:
    index = RunIndex(machine.runs, machine.home, KeyFolder(machine.home / "keys"))
    return Site(PageSource(index, lambda: 0.0, follows=follows))


class Tags(HTMLParser):
    """Tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def addresses(self) -> list[str]:
        return [value for _, found in self.tags for name in ("href", "src") if (value := found.get(name)) is not None]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a run of each kind, all of them, made once."""
    root = tmp_path_factory.mktemp("machine")
    keys = KeyFolder(root / "home" / "keys")
    machine = Machine(root, keys.machine_key(), keys.ring())
    machine.runs.mkdir()
    all_kinds(machine.runs, machine.key)
    write_report(site_of(machine), root / "out", all_steps=True)
    return root / "out"


def pages(folder: Path) -> Iterator[tuple[Path, str]]:
    yield from ((path, path.read_text("utf-8")) for path in sorted(folder.rglob("*.html")))


def test_every_address_in_a_report_leads_to_a_file_of_it(report: Path) -> None:
    checked = 0
    for path, page in pages(report):
        for address in Tags(page).addresses:
            parts = urlsplit(address)
            assert not parts.scheme
            assert not parts.netloc
            target = urlsplit(urljoin(path.relative_to(report).as_posix(), parts.path)).path
            assert (report / target).is_file(), f"{path}: {address}"
            checked += 1
    assert checked > 100


def test_no_text_of_agents_is_a_tag_or_a_script(report: Path) -> None:
    for path, page in pages(report):
        for tag, found in Tags(page).tags:
            assert tag not in {"iframe", "img", "object", "embed", "base", "form", "svg", "textarea"}, path
            assert not any(name.startswith("on") for name in found), path
            assert tag != "style"
            if tag == "script":
                known = (found.get("src") or "").endswith((".js",)) and "static/" in (found.get("src") or "")
                assert known or found.get("type") == "application/json", path
            if tag == "meta":
                assert found.get("http-equiv") in (None, "Content-Security-Policy"), path


def test_what_is_not_shown_is_spelt_out(report: Path) -> None:
    for path, page in pages(report):
        for text in Tags(page).text:
            assert not is_raw(text.replace("\n", "").replace("\t", "")), path


def test_hostile_names_and_texts_stand_in_the_page_as_text(machine: Machine) -> None:
    folder = hostile_run(machine.runs, machine.key)
    site = site_of(machine)
    (name,) = site.source.folders()
    found = site.content(f"runs/{name}/index.html")
    assert found is not None
    shown = "".join(Tags(found.body.decode()).text)
    assert MARKUP[0] in shown
    assert folder.path.name == name or name.startswith("run-")


def test_a_report_has_the_same_bytes_each_time(machine: Machine, tmp_path: Path) -> None:
    compose_run(machine.runs, machine.key, seeds=1, steps=3)
    for out in ("one", "two"):
        write_report(site_of(machine), tmp_path / out, all_steps=True)
    one, two = (
        {
            path.relative_to(tmp_path / out).as_posix(): path.read_bytes()
            for path in (tmp_path / out).rglob("*")
            if path.is_file()
        }
        for out in ("one", "two")
    )
    assert one == two


def test_a_report_overwrites_no_folder_of_others(machine: Machine, tmp_path: Path) -> None:
    compose_run(machine.runs, machine.key, seeds=1, steps=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="no report"):
        write_report(site_of(machine), tmp_path / "mine", all_steps=True)
    write_report(site_of(machine), tmp_path / "report", all_steps=True)
    write_report(site_of(machine), tmp_path / "report", all_steps=True)


def test_steps_without_a_page_are_not_linked(machine: Machine, tmp_path: Path) -> None:
    folder = compose_run(machine.runs, machine.key, seeds=1, steps=3)
    write_report(site_of(machine), tmp_path / "out", all_steps=False)
    at = tmp_path / "out" / "runs" / folder.path.name
    submitted = {f"{seed.seed}-{seed.submitted}.html" for seed in site_of(machine).source.index.summary(folder).seeds}
    assert {path.name for path in at.glob("*-*.html")} == submitted
    linked = {
        address
        for address in Tags((at / "index.html").read_text()).addresses
        if re.fullmatch(r"\d+-\d+\.html", address)
    }
    assert linked == submitted


@contextmanager
def asking(site: Site, token: str) -> Iterator[http.client.HTTPConnection]:
    with serving(site, token, 0) as address:
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=30)
        try:
            yield connection
        finally:
            connection.close()


def test_who_does_not_know_the_token_gets_nothing(machine: Machine) -> None:
    compose_run(machine.runs, machine.key, seeds=1, steps=3)
    token = new_token()
    with asking(site_of(machine, follows=True), token) as connection:
        port = connection.port
        cases = [
            ("/", None, 404), ("/index.html", None, 404), (f"/{token[:-1]}/index.html", None, 404),
            (f"/{token}x/index.html", None, 404), (f"/{token}/index.html", "evil.example", 404),
            (f"/{token}/index.html", f"evil.example:{port}", 404), (f"/{token}/index.html", f"127.0.0.1.evil.example:{port}", 404),
            (f"/{token}/index.html", f"localhost:{port}", 200), (f"/{token}/index.html", None, 200),
        ]  # fmt: skip
        for path, host, status in cases:
            connection.request("GET", path, headers={"Host": host} if host else {})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == status, (path, host)
            if status == 404:
                assert b"compose" not in body
                assert token.encode() not in body


@pytest.mark.parametrize(
    "path",
    ["../manifest.json", "static/../server.py", "static/../../index.py", "runs/../index.html", "runs/%2e%2e/index.html",
     "runs/compose/../../x", "runs/compose/0-1.manifest.txt", "runs/compose/9-9.html", "runs/nothing/index.html",
     "runs/compose/0-1.code.html", "static/", "static/nothing.js", "%00", "runs/compose/0-99999999.html", "board.csv"],
)  # fmt: skip
def test_only_pages_are_served(machine: Machine, path: str) -> None:
    compose_run(machine.runs, machine.key, seeds=1, steps=3)
    token = new_token()
    with asking(site_of(machine, follows=True), token) as connection:
        connection.request("GET", f"/{token}/{path}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 404


def test_every_answer_forbids_what_pages_do_not_need(machine: Machine) -> None:
    folder = compose_run(machine.runs, machine.key, seeds=1, steps=3)
    token = new_token()
    with asking(site_of(machine, follows=True), token) as connection:
        for path in ("index.html", f"runs/{folder.path.name}/index.html", "static/charts.js", "nothing"):
            connection.request("GET", f"/{token}/{path}")
            answer = connection.getresponse()
            answer.read()
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            connection.request(method, f"/{token}/index.html")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 405


def test_the_server_listens_on_loopback_alone_and_ends(machine: Machine) -> None:
    compose_run(machine.runs, machine.key, seeds=1, steps=3)
    with serving(site_of(machine, follows=True), new_token(), 0) as address:
        port = urlsplit(address).port or 0
        assert urlsplit(address).hostname == "127.0.0.1"
        with socket.socket() as other, pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", port))  # loopback too, and not what it listens on
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.1", port))


def test_the_board_comes_when_it_is_made(machine: Machine) -> None:
    all_kinds(machine.runs, machine.key)
    page = site_of(machine).source.suite_page()
    assert page.board.board is not None
    assert page.board.board.sections
    assert not page.board.is_old
    assert len(page.board.board.faults) == 2, "a damaged run, and one without a manifest"
    again = site_of(machine)
    assert again.source.suite_page().board.board == page.board.board


def test_the_version_of_a_page_changes_with_its_run_alone(machine: Machine) -> None:
    one, other = (
        compose_run(machine.runs, machine.key, seeds=1, steps=3),
        compose_run(machine.runs, machine.key, name="other", seeds=1, steps=3),
    )
    site = site_of(machine, follows=True)
    before = {name: site.version(f"runs/{name}/index.html") for name in ("compose", "other")}
    assert before == {name: site.version(f"runs/{name}/index.html") for name in ("compose", "other")}
    (other.path / "manifest.json").touch()
    assert site.version(f"runs/{one.path.name}/index.html") == before["compose"]
    assert site.version("runs/other/index.html") != before["other"]


def test_what_is_missing_is_one_line(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compose_run(machine.runs, machine.key, seeds=1, steps=3)
    assert run_command_line(["view", "nothing"]) == 2
    assert "aira-bench: error: No run and no folder of runs 'nothing'" in capsys.readouterr().err
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("plotly", "uvicorn") else real(name))
    for command in (["view"], ["report", "compose", "--out", str(machine.root / "out")]):
        assert run_command_line(command) == 3
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "plotly" in said
        assert "Try: pip install 'aira-bench[view]'" in said


def test_a_report_of_one_run_has_that_run_alone(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    compose_run(machine.runs, machine.key, seeds=1, steps=3)
    compose_run(machine.runs, machine.key, name="other", seeds=1, steps=3)
    out = machine.root / "out"
    assert run_command_line(["report", "other", "--out", str(out)]) == 0
    assert [path.name for path in (out / "runs").iterdir()] == ["other"]
    assert str(out / "runs" / "other" / "index.html") in capsys.readouterr().out


def test_a_report_sets_side_by_side_what_it_can(machine: Machine) -> None:
    compose_run(machine.runs, machine.key, seeds=2, steps=4)
    compose_run(machine.runs, machine.key, name="other", seeds=1, steps=4)
    out = machine.root / "out"
    site = site_of(machine)
    write_report(site, out, all_steps=True)
    _, detail = site.source.index.detail(site.source.folders()["compose"])
    of_parents = {
        f"{node.seed}-{parent}/compose/{node.seed}-{node.step}" for node in detail.nodes for parent in node.parents
    }
    run, _ = site.source.index.detail(site.source.folders()["compose"])
    best, other = sorted(run.winners, key=lambda each: each.seed != run.best_seed)
    submitted = f"{best.seed}-{best.step}/compose/{other.seed}-{other.step}"
    there = {path.relative_to(out / "compare" / "compose").with_suffix("").as_posix()
             for path in (out / "compare" / "compose").rglob("*.html")}  # fmt: skip
    assert of_parents
    assert there == {*of_parents, submitted, "run/other/run"}
    assert (out / "compare" / "compose" / "run" / "other" / "run.csv").is_file()
    assert f'href="../../compare/compose/{submitted}.html"' in (out / "runs" / "compose" / "index.html").read_text()
    assert 'href="compare/compose/run/other/run.html"' in (out / "index.html").read_text()
    small = machine.root / "small"
    write_report(site_of(machine), small, all_steps=False)
    assert (small / "compare" / "compose" / f"{submitted}.html").is_file()
    beside = {path.stem for path in (small / "compare").rglob("*.html")} - {"run"}
    assert beside == {f"{other.seed}-{other.step}"}, "steps without a page are in no other"


def test_numbers_of_strangers_are_short_on_every_page(report: Path) -> None:
    for path, page in pages(report):
        assert not re.search(r"\d{60}", re.sub(r"<pre.*?</pre>|[0-9a-f]{64}", "", page, flags=re.DOTALL)), path


def test_a_server_that_is_stopped_while_it_makes_a_page_says_nothing_of_it(machine: Machine) -> None:
    folder = hostile_run(machine.runs, machine.key, machine.ring.seen)
    server = subprocess.Popen(
        [sys.executable, "-m", "aira_bench", "view", "--runs", str(machine.runs)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    parts = urlsplit(server.stdout.readline().strip())
    with socket.create_connection((parts.hostname, parts.port)) as asking:
        page = parts.path.replace("index.html", f"runs/{slug(folder.path.name)}/0-2.html")
        asking.sendall(f"GET {page} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        time.sleep(0.5)
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=120)
    assert "Traceback" not in said, said
    assert server.returncode == 0
