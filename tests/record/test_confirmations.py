"""Confirmations: bound to run, seed, journal and artifact, and read only from keys that are known."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aira_bench.files import Unacceptable
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.chain import ChainWriter, read_chain
from aira_bench.record.confirmations import ConfirmationOpened, Confirmed, add_confirmation, read_confirmations
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import read_journal
from aira_bench.record.run_record import read_run
from aira_bench.record.schema import encode
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import Keeper
from aira_bench.record.seen_chains import Witness
from generated_runs import LONG_AGO, manifest, write_run

KEY, OTHER = MachineKey(b"1" * 32), MachineKey(b"2" * 32)
RING = KeyRing(KEY.public)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path, manifest("a", seeds=(0,), steps=3), invalid_share=0.0, key=KEY)


def score(step: int, test: float = 0.4) -> TrustedScore:
    return TrustedScore(step, test, 0.4, "1", "judge:1", 2.0)


def keeper(run: RunFolder, key: MachineKey = KEY) -> Keeper:
    record = read_run(run, RING)
    return Keeper(run, key, record.manifest.run_id, record.manifest_sha256, lambda: LONG_AGO, Witness(None))


def confirmed(run: RunFolder, ring: KeyRing = RING, *, hash_all: bool = False) -> dict[int, tuple[TrustedScore, ...]]:
    chain = read_journal(run.path, "seeds/0/journal.jsonl").chain
    seed = run.seed(0)
    found = read_confirmations(seed, run.manifest.run_id, 0, chain, seed.nodes, ring, hash_all=hash_all)
    assert found.hidden_key is None
    return dict(found.scores)


def artifact(run: RunFolder, step: int) -> str:
    found = run.seed(0).nodes[step - 1].artifact_sha256
    assert found is not None
    return found


def line(run: RunFolder, step: int, **changes: object) -> Confirmed:
    return Confirmed(**({"artifact_sha256": artifact(run, step), "score": score(step), "at": "t"} | changes))  # type: ignore[arg-type]


def opening(run: RunFolder, **changes: object) -> ConfirmationOpened:
    journal = read_journal(run.path, "seeds/0/journal.jsonl").chain.seal
    return ConfirmationOpened(**({"run_id": run.manifest.run_id, "seed": 0, "journal": journal, "at": "t"} | changes))  # type: ignore[arg-type]


def written(run: RunFolder, *events: object, key: MachineKey = KEY) -> None:
    """A file of confirmations with lines of one's own choice, each signed."""
    path = run.seed(0).confirmed.path
    writer = ChainWriter(path, read_chain(b""), key)
    for event in events:
        writer.append(encode(event), signed=True)
    writer.close()


def test_a_run_nobody_confirmed_has_none(run: RunFolder) -> None:
    assert confirmed(run) == {}


def test_each_step_is_confirmed_once_and_read_back(run: RunFolder) -> None:
    for step in (3, 1):
        add_confirmation(keeper(run), 0, artifact(run, step), score(step))
    assert confirmed(run) == {3: (score(3),), 1: (score(1),)}
    add_confirmation(keeper(run), 0, artifact(run, 3), score(3, 0.9))
    with pytest.raises(Unacceptable, match="line 4 has training 0 of step 3 once more"):
        confirmed(run)


def test_the_judges_reports_are_those_it_left(run: RunFolder) -> None:
    place = run.seed(0).confirmation(2)
    place.mkdir(parents=True)
    (place / "report.json").write_text("{}")
    add_confirmation(keeper(run), 0, artifact(run, 2), score(2))
    assert confirmed(run, hash_all=True) == {2: (score(2),)}
    (place / "report.json").write_text("{ }")
    assert confirmed(run) == {2: (score(2),)}, "the score is in the chain"
    with pytest.raises(Unacceptable, match=r"hidden/confirmed/0002/report.json: it was replaced"):
        confirmed(run, hash_all=True)
    (place / "report.json").unlink()
    with pytest.raises(Unacceptable, match="it is missing"):
        confirmed(run, hash_all=True)


DOCTORED: dict[str, tuple[Callable[[RunFolder], tuple[object, ...]], str]] = {
    "no opening": (lambda run: (line(run, 1),), "does not begin with the line that says whose it is"),
    "opened twice": (lambda run: (opening(run), opening(run)), "line 2 confirms no step"),
    "another run": (lambda run: (opening(run, run_id="b" * 12), line(run, 1)), "it was copied"),
    "another seed": (lambda run: (opening(run, seed=1), line(run, 1)), "it was copied"),
    "another journal": (lambda run: (opening(run, journal="0" * 64), line(run, 1)), "the journal was changed since"),
    "another artifact": (
        lambda run: (opening(run), line(run, 1, artifact_sha256=artifact(run, 2))), "line 2 confirms another artifact",
    ),
    "no such step": (lambda run: (opening(run), line(run, 1, score=score(9))), "line 2 confirms no step of the seed"),
    "twice": (lambda run: (opening(run), line(run, 1), line(run, 1)), "line 3 has training 0 of step 1 once more"),
    "several keys": (
        lambda run: (opening(run), line(run, 1, hidden_key="e" * 64), line(run, 2, hidden_key="f" * 64)),
        "hidden data of several keys",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "said"), DOCTORED.values(), ids=list(DOCTORED))
def test_what_belongs_to_something_else_confirms_nothing(
    run: RunFolder, events: Callable[[RunFolder], tuple[object, ...]], said: str
) -> None:
    written(run, *events(run))
    with pytest.raises(Unacceptable, match=said):
        confirmed(run)


def test_whoever_is_trusted_may_confirm_and_nobody_else(run: RunFolder) -> None:
    written(run, opening(run), line(run, 1), key=OTHER)
    with pytest.raises(Unacceptable, match="unknown key"):
        confirmed(run)
    assert confirmed(run, KeyRing(KEY.public, (OTHER.public,))) == {1: (score(1),)}
    assert confirmed(run, KeyRing(OTHER.public)) == {1: (score(1),)}, "one's own, of another's run"


def test_unsigned_confirmations_count_in_unsigned_runs_alone(run: RunFolder, tmp_path: Path) -> None:
    old = write_run(tmp_path, manifest("old", seeds=(0,), steps=3), invalid_share=0.0)
    for each in (old, run):
        each.seed(0).confirmed.append(score(1))
        each.seed(0).confirmed.append(score(7))
    assert confirmed(old) == {1: (score(1),)}, "steps that the journal has not are left out"
    with pytest.raises(Unacceptable, match="it is unsigned, in a run that is signed"):
        confirmed(run)


def test_confirmations_of_one_seed_are_under_one_key(tmp_path: Path) -> None:
    """A second line under another key would put two figures that do not compare into one mean."""
