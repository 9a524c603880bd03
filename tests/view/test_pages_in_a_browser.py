"""Pages in a real browser: every page of runs of every kind is opened, also of runs whose every text does harm."""

import csv
import io
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route
from watched_pages import WatchedPage, shot_name, walk, watched

from aira_bench.cli.main import run_command_line
from aira_bench.view.opening import open_site
from aira_bench.view.server import new_token, serving
from shown_runs import Machine, compose_run, damaged_run, hostile_run, module_run, script_run

pytestmark = pytest.mark.browser
BENCH = Path(__file__).parents[2] / "bench"
PLAYED_RUN = Path(__file__).parents[1] / "played_run.py"
PHONE = {"width": 390, "height": 844}


@contextmanager
def viewed(machine: Machine, browser: Browser, shots: Path, **settings: object) -> Iterator[tuple[WatchedPage, str]]:
    """The first page of the machine's runs, served, in a tab."""
    site, first = open_site(None, None, follows=True)
    with serving(site, new_token(), 0) as address, watched(browser, (address,), shots, **settings) as tab:
        yield tab, f"{address}{first}"


def played_demo(steps: int = 3) -> list[str]:
    """The command of `make demo`, on a played machine."""
    return [sys.executable, str(PLAYED_RUN), "run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu",
            "--seeds", "2", "--steps", str(steps), "--name", "demo"]  # fmt: skip


def test_all_pages_of_the_demo(machine: Machine, browser: Browser, shots: Path) -> None:
    subprocess.run(played_demo(), check=True, capture_output=True, timeout=60)
    with viewed(machine, browser, shots) as (tab, first):
        visited = walk(tab, first, seen=lambda address: tab.shot(shot_name("demo", address)))
        names = {"/".join(address.split("/")[4:]) for address in visited}
        assert {f"runs/demo/{seed}-{step}.html" for seed in (0, 1) for step in (1, 2, 3)} < names
        assert {"index.html", "runs/demo/index.html"} < names


@pytest.mark.parametrize("write", [compose_run, module_run, script_run, damaged_run], ids=lambda each: each.__name__)
def test_all_pages_of_a_run(machine: Machine, browser: Browser, shots: Path, write: Callable[..., Any]) -> None:
    """Of each kind of artifact, and of a run that is damaged: first page, run, and each kind of step once."""
    folder = write(machine.runs, machine.key, machine.ring.seen)
    with viewed(machine, browser, shots) as (tab, first):
        tab.open(first)
        for address in [link for link in tab.links() if "/runs/" in link]:
            tab.open(address, shot=shot_name("run", address))
            check_charts(tab)
            steps = [link for link in tab.links() if re.search(r"/\d+-\d+\.html$", link)]
            assert steps
            for step in steps[:4]:
                tab.open(step)
            tab.shot(shot_name(f"step-{folder.path.name}", steps[min(3, len(steps) - 1)]))


def test_all_pages_of_a_suite(machine: Machine, browser: Browser, shots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first page with the board, once that is made, every run, and a step of each."""
    monkeypatch.syspath_prepend(BENCH)
    from full_board import generate

    generate(machine.runs, machine.home, 12, 5)
    with viewed(machine, browser, shots) as (tab, first):
        tab.open(first)
        tab.wait_until("!document.querySelector('.wait')", 60)
        tab.open(first)
        tab.unfold()
        tab.shot("suite")
        check_charts(tab)
        assert tab.page.locator("#runs tbody tr").count() == 12
        runs = [link for link in tab.links() if "/runs/" in link]
        assert len(set(runs)) == 12
        for place, address in enumerate(runs):
            tab.open(address, shot="suite-run" if place == 0 else "")
            tab.open(next(link for link in tab.links() if re.search(r"/\d+-\d+\.html$", link)))


def test_nothing_of_a_hostile_run_acts(machine: Machine, browser: Browser, shots: Path) -> None:
    """All its pages are opened, all that folds is unfolded, every chart is hovered over, and every file is fetched."""
    hostile_run(machine.runs, machine.key, machine.ring.seen)
    damaged_run(machine.runs, machine.key, machine.ring.seen)
    with viewed(machine, browser, shots) as (tab, first):

        def poke(address: str) -> None:
            tab.unfold()
            for mark in tab.page.locator(".figure .points path").all()[:3]:
                mark.hover(force=True, timeout=2000)
            tab.check()
            assert tab.page.evaluate("document.documentElement.outerHTML.length") < 20_000_000
            tab.shot(shot_name("hostile", address))
            for file in tab.files():
                with urllib.request.urlopen(file) as answer:
                    assert answer.headers.get_content_type() in ("text/plain", "text/csv")
                    assert "nosniff" in answer.headers["X-Content-Type-Options"]

        visited = walk(tab, first, seen=poke)
    assert sum("/runs/run-" in address for address in visited) >= 7, visited


def test_a_report_of_a_hostile_run_opens_from_disk(machine: Machine, browser: Browser, shots: Path) -> None:
    hostile_run(machine.runs, machine.key, machine.ring.seen)
    compose_run(machine.runs, machine.key, machine.ring.seen, seeds=1, steps=4)
    out = machine.root / "report"
    assert run_command_line(["report", str(machine.runs), "--out", str(out), "--steps", "all"]) == 0
    folder = out.as_uri() + "/"
    with watched(browser, (folder,), shots) as tab:
        visited = walk(tab, f"{folder}index.html", seen=lambda address: tab.shot(shot_name("disk", address)))
        assert len(visited) >= 1 + 2 + 6 + 4
        assert all(asked.startswith(folder) for asked in tab.asked)


def test_a_page_follows_a_run(machine: Machine, browser: Browser, shots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_PLAYED_STEP_S", "1.5")
    running = subprocess.Popen(played_demo(4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ends_s = time.monotonic() + 30
        while not (machine.runs / "demo" / "seeds" / "1" / "journal.jsonl").exists() and time.monotonic() < ends_s:
            time.sleep(0.1)
        with viewed(machine, browser, shots) as (tab, first):
            tab.open(first)
            tab.page.get_by_role("link", name="demo").first.click()
            counted = "document.querySelectorAll('#steps tbody tr').length"
            tab.wait_until(f"document.body.dataset.state === 'followed' && {counted} >= 1")
            tab.shot("follow-running")
            tab.page.evaluate("window.mine = 1")
            for part in ("#best-so-far details", "#files"):
                tab.page.locator(f"{part} summary").first.click()
            tab.page.locator("#steps input[type=search]").fill("draft")
            tab.page.locator("#steps input[type=search]").focus()
            tab.wait_until(f"{counted} === 8", 60)
            tab.wait_until("document.querySelector('h1').innerText.includes('finished')", 30)
            assert tab.page.evaluate("window.mine") == 1, "the page was loaded anew, so readers lose their place"
            tab.settle()
            tab.shot("follow-finished")
            for part in ("#best-so-far details", "#files"):
                assert tab.page.locator(part).first.evaluate("each => each.open"), f"{part} was folded again"
            assert tab.page.locator("#steps input[type=search]").input_value() == "draft"
            assert tab.page.evaluate("document.activeElement.matches('#steps input[type=search]')")
            assert " of 8" in tab.page.locator("#steps .tools").inner_text()
    finally:
        running.wait(timeout=60)


GREW = {
    "index.html": "document.querySelector('#runs tbody tr').cells[5].innerText === '4'",
    "runs/one/index.html": "document.querySelectorAll('#steps tbody tr').length === 4",
    "runs/one/0-3.html": "document.querySelector('a[rel=next]') !== null",
    "compare/one/run/other/run.html": "document.querySelector('#compared').innerText.includes('of 4')",
}
"""What holds on each kind of page once a run of three steps has its fourth."""


@pytest.mark.parametrize("path", GREW)
def test_what_changes_before_a_page_first_asks_is_not_lost(
    machine: Machine, browser: Browser, shots: Path, path: str
) -> None:
    """The run grows while the page is on its way; nothing changes after that."""
    folder = compose_run(machine.runs, machine.key, machine.ring.seen, name="one", seeds=1, steps=4)
    compose_run(machine.runs, machine.key, machine.ring.seen, name="other", seeds=1, steps=2)
    file = folder.seed(0).journal
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    ended = [place for place, line in enumerate(lines) if b'"step_ended"' in line]
    file.write_bytes(b"".join(lines[: ended[2] + 1]))
    with viewed(machine, browser, shots) as (tab, first):
        grown: list[str] = []

        def grow(route: Route) -> None:
            if not grown:
                file.write_bytes(whole)
            grown.append(route.request.url)
            route.continue_()

        tab.page.route("**/*version*", grow)
        tab.open(f"{first.rpartition('/')[0]}/{path}")
        tab.wait_until(GREW[path], 30)
        assert grown


def test_a_page_that_is_not_followed_any_more_says_so(machine: Machine, browser: Browser, shots: Path) -> None:
    """Its run was removed, came back, and then the server ended."""
    folder = compose_run(machine.runs, machine.key, machine.ring.seen, name="one", seeds=1, steps=3)
    said = "document.querySelector('#left').innerText"
    with watched(browser, ("http://127.0.0.1",), shots) as tab:
        site, _ = open_site(None, None, follows=True)
        with serving(site, new_token(), 0) as address:
            tab.open(f"{address}runs/one/index.html")
            assert not tab.page.locator("#left").is_visible()
            folder.path.rename(machine.root / "elsewhere")
            tab.wait_until(f"{said}.includes('no longer there')")
            assert tab.page.locator("#steps tbody tr").count() == 3
            tab.shot("left")
            (machine.root / "elsewhere").rename(folder.path)
            tab.wait_until(f"{said} === ''")
            tab.problems.clear()  # of the page that was not there
        tab.wait_until(f"{said}.includes('does not answer')")


def journal(runs: Path, name: str, seed: int) -> list[dict[str, Any]]:
    """Nodes of a journal, read by nothing of ours."""
    lines = (runs / name / "seeds" / str(seed) / "journal.jsonl").read_text().splitlines()
    bodies = [json.loads(line)["body"] for line in lines]
    return [body["node"] for body in bodies if body["event"] == "step_ended"]


def scores(runs: Path, name: str, seed: int, file: str = "scores") -> list[dict[str, Any]]:
    """Lines of a file of scores, read by nothing of ours."""
    path = runs / name / "seeds" / str(seed) / "hidden" / f"{file}.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [each.get("body", each) for each in found]


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def numbers_in(value: object) -> Iterator[float]:
    """Every number of a JSON value."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, dict):
        for each in value.values():
            yield from numbers_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from numbers_in(each)


def test_the_table_of_steps_is_what_journal_and_scores_say(machine: Machine, browser: Browser, shots: Path) -> None:
    compose_run(machine.runs, machine.key, machine.ring.seen)
    expected = []
    for seed in (0, 1):
        tests = {each["step"]: each["test"] for each in scores(machine.runs, "compose", seed)}
        for node in journal(machine.runs, "compose", seed):
            parents = " ".join(map(str, node["parents"]))
            expected.append([str(seed), str(node["step"]), node["operator"], parents, node["step_class"],
                             shown(node["fitness"]), shown(tests.get(node["step"]))])  # fmt: skip
    with viewed(machine, browser, shots) as (tab, first):
        tab.open(first.replace("index.html", "runs/compose/index.html"))
        rows = tab.page.locator("#steps tbody tr").evaluate_all(
            "all => all.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        )
        found = [[*row[:4], row[4].split()[0], *row[5:7]] for row in rows]
        assert found == expected
        check_charts(tab)


def check_charts(tab: WatchedPage) -> None:
    """Every chart of a page is drawn, and has its figures as a table and as a file of the same rows."""
    for section in tab.page.locator("section.chart").all():
        assert section.locator(".figure .main-svg").count() > 0
        table = section.locator("details tbody tr").evaluate_all(
            "all => all.map(row => [...row.cells].map(cell => cell.textContent.trim()))"
        )
        with urllib.request.urlopen(section.locator("a[download]").evaluate("each => each.href")) as answer:
            file = list(csv.reader(io.StringIO(answer.read().decode())))
        assert len(table) == min(len(file) - 1, 1000) > 0, "the table has other rows than the file"
        assert section.locator("details thead th").all_text_contents() == file[0]
        for row, line in zip(table, file[1:], strict=False):
            assert all(_same(cell, value) for cell, value in zip(row, line, strict=True)), (row, line)


def _same(cell: str, value: str) -> bool:
    if cell in ("-", ""):
        return value == ""
    try:
        return cell == value or abs(float(cell.replace(",", "")) - float(value)) <= 5e-5
    except ValueError:
        return " ".join(cell.split()) == " ".join(value.split())


def test_every_number_on_a_run_s_page_is_found_again_in_its_files(
    machine: Machine, browser: Browser, shots: Path
) -> None:
    """Read from the files by nothing of ours; what a page reckons of them is reckoned here once more."""
    subprocess.run(played_demo(), check=True, capture_output=True, timeout=60)
    runs, seeds = machine.runs, (0, 1)
    manifest = json.loads((runs / "demo" / "manifest.json").read_text())
    nodes = {seed: journal(runs, "demo", seed) for seed in seeds}
    steps = [node for seed in seeds for node in nodes[seed]]
    found = {seed: scores(runs, "demo", seed) for seed in seeds}
    again = {seed: scores(runs, "demo", seed, "confirmed") for seed in seeds}
    raw = [*numbers_in(list(nodes.values())), *numbers_in(list(found.values())), *numbers_in(list(again.values())),
           *numbers_in(manifest["plan"]), *numbers_in(manifest["noise"]), *numbers_in(manifest["trainings"]), *seeds]  # fmt: skip
    best = []
    for seed in seeds:
        trained = [value["test"] for each in again[seed] for value in _scores_in(each)]
        assert len(trained) == 3
        mean = sum(trained) / 3
        raw += [mean, (sum((each - mean) ** 2 for each in trained) / 2) ** 0.5]
        top = -1.0
        for node in nodes[seed]:
            top = max(top, node["fitness"] if node["fitness"] is not None else top)
            best.append(top)
    raw += best
    for layers in {node["canonical"] for node in steps}:
        raw += [16, *(layers.split(",").count(symbol) for symbol in ("mA", "M"))]
    raw += [*range(1, 17), 16 * 2 * 4, *shares(steps)]  # rows of a heat map are the task's own primitives
    raw += [file.stat().st_size for file in (runs / "demo").rglob("*") if file.is_file()]
    raw += [len(steps), len(seeds), *(len(nodes[seed]) for seed in seeds)]
    for name in ("calls", "input_tokens", "output_tokens", "cost_usd"):
        raw.append(sum(node["model_use"][name] for node in steps))
    for name in ("model_s", "execute_s", "evaluate_s", "total_s"):
        raw.append(sum(node["timings"][name] for node in steps))
    with viewed(machine, browser, shots) as (tab, first):
        tab.open(first.replace("index.html", "runs/demo/index.html"))
        tab.unfold()
        tab.page.evaluate("document.querySelectorAll('.figure, #code, #diff, #output').forEach(each => each.remove())")
        text = tab.page.locator("main").inner_text()
    text = re.sub(
        r"\d{4}-\d\d-\d\d\S*|/\S+|\b[0-9a-f]{8,}\b|mad-2p|[\w-]+\.(?:txt|csv|py|json|html)|sha256\S*", " ", text
    )
    numbers = re.findall(r"(?<![\w.])[-+\u2212]?\d[\d,]*(?:\.\d+)?(?![\w.]*\w)", text)
    assert len(numbers) > 100
    unknown = [each for each in numbers if not _known(each, raw)]
    assert not unknown, sorted(set(unknown))


def shares(nodes: list[dict[str, Any]]) -> Iterator[float]:
    """In which share of architectures each primitive stands in each layer: of all steps, and of each third of them."""
    last = max(node["step"] for node in nodes)
    for third in (None, 0, 1, 2):
        found = [
            node["canonical"].split(",") for node in nodes
            if node["canonical"] and third in (None, (node["step"] - 1) * 3 // last)
        ]  # fmt: skip
        for layer in range(16):
            yield from (sum(each[layer] == symbol for each in found) / len(found) for symbol in ("mA", "M", "mM"))
        yield len(found)


def _scores_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "test" in value and "evaluator_version" in value:
            yield value
        for each in value.values():
            yield from _scores_in(each)


def _known(text: str, raw: list[float]) -> bool:
    """Whether a number as it is shown, with so many digits, is one of the raw ones rounded to them."""
    plain = text.replace(",", "").replace("\u2212", "-")
    digits = len(plain.partition(".")[2])
    return any(
        abs(float(plain) - value) <= 0.5 * 10**-digits + 1e-12 and (digits or float(value).is_integer())
        for value in raw
    )


def test_pages_fit_a_phone_and_the_dark(machine: Machine, browser: Browser, shots: Path) -> None:
    """Nothing is wider than the window, and text stands out from its ground, in both schemes."""
    compose_run(machine.runs, machine.key, machine.ring.seen, seeds=1, steps=6)
    hostile_run(machine.runs, machine.key, machine.ring.seen)
    for scheme in ("light", "dark"):
        with viewed(machine, browser, shots, viewport=PHONE, color_scheme=scheme, is_mobile=True) as (tab, first):
            tab.open(first, shot=f"phone-{scheme}-runs")
            runs = [link for link in tab.links() if "/runs/" in link]
            for place, address in enumerate(runs):
                tab.open(address, shot=f"phone-{scheme}-run-{place}")
                assert not too_wide(tab), address
                tab.open(next(link for link in tab.links() if re.search(r"-\d+\.html$", link)))
                tab.shot(f"phone-{scheme}-step-{place}")
                assert not too_wide(tab), tab.page.url


def too_wide(tab: WatchedPage) -> list[str]:
    """What stands out of the window, unless it can be scrolled by itself."""
    width = tab.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if width <= 0:
        return []
    found: list[str] = tab.page.evaluate(
        "[...document.querySelectorAll('main *')].filter(each => each.getBoundingClientRect().right > "
        "document.documentElement.clientWidth + 1).map(each => each.tagName + '.' + each.className).slice(0, 10)"
    )
    return [f"{width} px", *found]


def test_two_steps_and_two_runs_stand_side_by_side(machine: Machine, browser: Browser, shots: Path) -> None:
    """What differs is marked, in figures, layers and lines; chosen and opened by keys alone, and by clicks."""
    compose_run(machine.runs, machine.key, machine.ring.seen, name="one", seeds=1, steps=6)
    compose_run(machine.runs, machine.key, machine.ring.seen, name="two", seeds=2, steps=4)
    hostile_run(machine.runs, machine.key, machine.ring.seen)
    nodes = {node["step"]: node for node in journal(machine.runs, "one", 0)}
    valid = [step for step, node in nodes.items() if node["canonical"]][:2]
    with viewed(machine, browser, shots) as (tab, first):
        tab.open(first)
        tab.page.locator("#runs tr[data-open='runs/one/index.html'] input.choose").check()
        tab.page.locator("#runs tr[data-open='runs/two/index.html'] input.choose").check()
        tab.page.get_by_role("link", name="Compare the two chosen").first.click()
        tab.page.wait_for_url("**/compare/one/run/two/run.html")
        tab.settle()
        tab.shot("compare-runs")
        rows = compared(tab)
        assert rows["steps"] == ("6", "8", True)
        assert rows["agent"] == ("greedy-model", "greedy-model", False)
        best = max(node["fitness"] for node in nodes.values() if node["fitness"] is not None)
        assert rows["search"][0] == f"{best:.4f}"
        with urllib.request.urlopen(tab.files()[0]) as answer:
            assert len(answer.read().splitlines()) == 1 + 6 + 8

        tab.open(f"{first.rpartition('/')[0]}/runs/one/index.html")
        for step in valid:
            tab.page.locator(f"#steps tr[data-open='0-{step}.html'] input.choose").check()
        tab.page.keyboard.press("c")
        tab.page.wait_for_url(f"**/compare/one/0-{valid[0]}/one/0-{valid[1]}.html")
        tab.settle()
        tab.shot("compare-steps")
        layers = [nodes[step]["canonical"].split(",") for step in valid]
        cells = tab.page.locator("#layers tbody td").evaluate_all(
            "all => all.map(each => [each.innerText, each.className])"
        )
        marks = ["differs" if one != other else "" for one, other in zip(*layers, strict=True)]
        assert cells == [[name, mark] for side in layers for name, mark in zip(side, marks, strict=True)]
        assert compared(tab)["search score"][0].startswith(f"{nodes[valid[0]]['fitness']:.4f}")
        assert f"+# step {valid[1]}" in tab.page.locator("#lines").inner_text()

        hostile = next(name for name in tab.page.request.get(first).text().split('"') if name.startswith("runs/run-"))
        tab.open(
            f"{first.rpartition('/')[0]}/{hostile}".replace("runs/", "compare/").replace(
                "index.html", "0-4/one/0-1.html"
            )
        )
        tab.shot("compare-hostile")
        for nowhere in (
            "one/run/one/0-1.html",
            "one/0-99/one/0-1.html",
            "none/run/one/run.html",
            "../one/run/one/run.html",
        ):
            answer = tab.page.request.get(f"{first.rpartition('/')[0]}/compare/{nowhere}")
            assert answer.status == 404, nowhere


def compared(tab: WatchedPage) -> dict[str, tuple[str, str, bool]]:
    """What each says, by name, and whether it is marked as other."""
    rows = tab.page.locator("#compared tbody tr:has(td)").evaluate_all(
        "all => all.map(row => [row.cells[0].innerText, row.cells[1].innerText, row.cells[2].innerText, row.className])"
    )
    return {name.removesuffix("differs").strip(): (left, right, mark == "differs") for name, left, right, mark in rows}


def test_everything_is_reached_by_keys(machine: Machine, browser: Browser, shots: Path) -> None:
    compose_run(machine.runs, machine.key, machine.ring.seen, name="one", seeds=1, steps=4)
    compose_run(machine.runs, machine.key, machine.ring.seen, name="two", seeds=1, steps=4)
    with viewed(machine, browser, shots) as (tab, first):
        tab.open(first)
        press = tab.page.keyboard.press
        press("/")
        tab.page.keyboard.type("two")
        assert tab.page.locator("#runs tbody tr:visible").count() == 1
        press("Escape")
        assert tab.page.locator("#runs tbody tr:visible").count() == 2
        press("j")
        press("j")
        tab.shot("keys")
        press("Enter")
        tab.page.wait_for_url("**/runs/two/index.html")
        press("j"), press("j"), press("k")
        press("Enter")
        tab.page.wait_for_url("**/runs/two/0-1.html")
        press("j")
        tab.page.wait_for_url("**/runs/two/0-2.html")
        press("k")
        tab.page.wait_for_url("**/runs/two/0-1.html")
        press("u")
        tab.page.wait_for_url("**/runs/two/index.html")
        press("k"), press("x"), press("k"), press("x"), press("c")
        tab.page.wait_for_url("**/compare/two/0-4/two/0-3.html")
        tab.settle()


LABELLED = """[...document.querySelectorAll('a[href], button, input, summary, [tabindex="0"], [role="img"]')]
    .filter(each => !each.closest('.js-plotly-plot') || each.matches('.figure'))
    .filter(each => !(each.getAttribute('aria-label') || each.textContent).trim()).map(each => each.outerHTML.slice(0, 200))"""
CONTRAST = """() => {
    const parts = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (each) => {
        for (; each; each = each.parentElement) {
            const found = parts(getComputedStyle(each).backgroundColor);
            if (found.length < 4 || found[3] > 0) return found;
        }
        return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
    };
    const bad = [];
    for (const each of document.querySelectorAll('body *')) {
        if (each.closest('.figure') || ![...each.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        if (each.matches('script, style') || !each.getClientRects().length) continue;
        const [one, other] = [light(parts(getComputedStyle(each).color)), light(ground(each))].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (other + 0.05);
        if (ratio < 4.5) bad.push(`${each.tagName}.${each.className} ${ratio.toFixed(2)} ${each.textContent.slice(0, 40)}`);
    }
    return [...new Set(bad)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_and_heard_by_everybody(machine: Machine, browser: Browser, shots: Path, scheme: str) -> None:
    """Text has a contrast of 4.5 to its ground (WCAG 2, 1.4.3), and all that can be acted on has a name; tables have
    headings; where the focus is can be seen.
    """
    compose_run(machine.runs, machine.key, machine.ring.seen, name="one", seeds=1, steps=6)
    damaged_run(machine.runs, machine.key, machine.ring.seen)
    with viewed(machine, browser, shots, color_scheme=scheme) as (tab, first):
        base = first.rpartition("/")[0]
        for page in ("index.html", "runs/one/index.html", "runs/one/0-4.html", "runs/damaged/index.html",
                     "compare/one/0-1/one/0-4.html"):  # fmt: skip
            tab.open(f"{base}/{page}")
            tab.unfold()
            tab.shot(f"{scheme}-{page.replace('/', '-').removesuffix('.html')}")
            assert tab.page.evaluate(LABELLED) == [], page
            assert tab.page.evaluate(CONTRAST) == [], page
            assert tab.page.locator("table:not(:has(thead th))").count() == 0, page
            assert tab.page.evaluate("document.documentElement.lang") == "en"
            tab.page.keyboard.press("Tab")
            focused = "getComputedStyle(document.activeElement).outlineStyle"
            assert tab.page.evaluate(focused) not in ("none", ""), page
