"""The same weights handed over honestly and in every dishonest way we know: what the judge makes of each.

Here are the attacks that are made by a model. Those that need a clock, signals, files or other processes run in real
containers, in tests/evaluation.
"""

import ast
import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import served_models as served
import torch
from torch import nn

from aira_evaluator.autoresearch import commands, handover, judging
from aira_evaluator.autoresearch.audit import ask_prefixes, draw_probes
from aira_evaluator.autoresearch.byte_lengths import ByteTableError, read_byte_lengths
from aira_evaluator.autoresearch.commands import evaluate
from aira_evaluator.autoresearch.conversation import Deadlines, PredictorFailed, accepted
from aira_evaluator.autoresearch.handover import HANDOVER_FILE, hand_over
from aira_evaluator.autoresearch.judging import COMPANY_DEPENDENT, LOOKS_AHEAD, SUFFIX_DEPENDENT, Judgement
from aira_evaluator.autoresearch.ring import RingShape
from aira_evaluator.text.tokenizer import Tokenizer

HIDDEN = served.hidden_rows()
SPLITS = ("validation", "test")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    return served.score(served.Bigram(), tmp_path_factory.mktemp("honest"), HIDDEN)


def claim(model: served.Bigram, split: str = "validation") -> float:
    """What the published metric says: bits per byte of the losses that the model itself returns."""
    rows = torch.from_numpy(HIDDEN.rows[HIDDEN.splits[split]].astype(np.int64))
    x, y = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    with torch.inference_mode():
        losses = model(x, y, reduction="none").flatten().double()
    counted = torch.from_numpy(HIDDEN.lengths)[y.flatten()]
    return float((losses * (counted > 0)).sum() / math.log(2) / counted.sum())


def test_an_honest_model_gets_the_direct_computations_score_and_no_flag(honest: Judgement) -> None:
    assert honest.flags == ()
    for split in SPLITS:
        found = honest.splits[split]
        assert found.bpb == pytest.approx(served.true_bpb(HIDDEN, split), abs=1e-5)
        assert found.charged_bpb < 1e-6
        assert found.audit.probes == 400
        targets = HIDDEN.rows[HIDDEN.splits[split], 1:]
        assert found.tokens == (targets != served.BOS).sum()
        assert found.bytes == HIDDEN.lengths[targets].sum()
    assert claim(served.Bigram()) == pytest.approx(honest.splits["validation"].bpb, abs=1e-5)


@pytest.mark.parametrize(
    "model",
    [served.FocalLoss, served.SmoothedLoss, served.HalvedLoss, served.UnnormalizedScores, served.CopiedTargets],
)
def test_what_a_model_says_of_its_loss_moves_its_claim_and_not_its_score(
    model: type[served.Bigram], honest: Judgement, tmp_path: Path
) -> None:
    found = served.score(model(), tmp_path / "m", HIDDEN)
    assert abs(claim(model()) - claim(served.Bigram())) > 0.01
    assert found.flags == ()
    for split in SPLITS:
        assert found.splits[split].bpb == pytest.approx(honest.splits[split].bpb, abs=1e-6)


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        (served.LookAhead, {LOOKS_AHEAD, SUFFIX_DEPENDENT}),
        (served.LookAheadOnNaturalSuffixes, {LOOKS_AHEAD, SUFFIX_DEPENDENT}),
        (served.RareLookAhead, {LOOKS_AHEAD, SUFFIX_DEPENDENT}),
        (served.Memorizer, {LOOKS_AHEAD}),
        (served.BatchAdaptor, {LOOKS_AHEAD, COMPANY_DEPENDENT}),
    ],
)
def test_a_model_that_uses_what_it_must_not_is_flagged_and_gains_nothing(
    model: type[served.Bigram], flags: set[str], honest: Judgement, tmp_path: Path
) -> None:
    found = served.score(model(), tmp_path / "m", HIDDEN)
    assert flags <= set(found.flags)
    for split in SPLITS:
        assert found.splits[split].bpb >= honest.splits[split].bpb


def test_a_memorizer_would_pass_if_its_prefixes_were_asked_last(honest: Judgement, tmp_path: Path) -> None:
    """Why the order and the second container matter: asked after whole rows, the memorizer knows every answer."""
    hidden, rules = HIDDEN, served.RULES
    hand_over(served.Memorizer(), tmp_path)
    rng = judging.secret_rng(5, "")
    shape = RingShape(2, 8, hidden.tokens, hidden.vocabulary)
    predictor = served.process(tmp_path / HANDOVER_FILE, tmp_path / "here")
    with accepted(tmp_path / "here", served.TICKETS[0], shape, Deadlines(60, 60, 60, 60)) as connection:
        probes = draw_probes(hidden, "validation", 200, rng)
        parallel = judging.parallel_pass(connection, hidden, rng)
        by_prefix = ask_prefixes(connection, hidden, probes, rng)
    predictor.join()
    gains = by_prefix.astype(np.float64) - parallel[probes.rows, probes.positions]
    assert not rules.tolerance.is_exceeded(gains)


def test_the_first_predictor_cannot_answer_for_the_second(honest: Judgement, tmp_path: Path) -> None:
    found = served.score(served.Impostor(tmp_path / "m" / judging.ROWS_SOCKET), tmp_path / "m", HIDDEN)
    assert found.flags == ()
    for split in SPLITS:
        assert found.splits[split].bpb == pytest.approx(honest.splits[split].bpb, abs=1e-6)


def test_a_model_that_takes_its_time_before_it_answers_is_flagged(tmp_path: Path) -> None:
    rules = replace(served.RULES, prompt_s=served.Loiterer.IDLES_S)
    assert judging.SLOW in served.score(served.Loiterer(), tmp_path / "m", HIDDEN, rules=rules).flags


@pytest.mark.parametrize("waits", [1.0, 30.0])
def test_time_to_serve_is_allowed_for_every_probe(waits: float) -> None:
    rules = replace(served.RULES, prompt_s=20.0, prompt_probe_s=0.02)
    assert judging.is_prompt(waits, 800, rules)
    assert not judging.is_prompt(waits + 36.0, 800, rules)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_secret_order_does_not_move_an_honest_score(seed: int, honest: Judgement, tmp_path: Path) -> None:
    found = served.score(served.Bigram(), tmp_path / "m", HIDDEN, seed=seed)
    for split in SPLITS:
        assert found.splits[split].bpb == pytest.approx(honest.splits[split].bpb, abs=1e-6)


def test_one_logit_that_is_no_number_makes_a_submission_invalid(tmp_path: Path) -> None:
    with pytest.raises(PredictorFailed, match="not all finite"):
        served.score(served.RareNan(), tmp_path / "m", HIDDEN)


class Raises(served.Bigram):
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"the hidden tokens are {x.tolist()}")


class Scalar(served.Bigram):
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return super().logits(x).mean()


class Exits(served.Bigram):
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        os._exit(0)


@pytest.mark.parametrize(
    ("model", "reason"),
    [(Raises, "raised an exception"), (Scalar, "must return logits of shape"), (Exits, "ended early")],
)
def test_a_model_that_cannot_be_asked_is_invalid_for_a_reason_that_tells_nothing_hidden(
    model: type[served.Bigram], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(PredictorFailed, match=reason) as caught:
        served.score(model(), tmp_path / "m", HIDDEN)
    assert "hidden" not in str(caught.value)


class RunsCode:
    """A pickle that writes a file wherever it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return leave_mark, (self.mark,)


def leave_mark(mark: Path) -> None:
    mark.write_text(f"{os.getpid()}")


def test_a_pickle_that_runs_code_runs_it_outside_the_judge_and_is_no_model(tmp_path: Path) -> None:
    mark, meeting = tmp_path / "mark", judging.Meeting(tmp_path, served.TICKETS)
    (tmp_path / HANDOVER_FILE).write_bytes(pickle.dumps(RunsCode(mark)))
    with (
        pytest.raises(PredictorFailed, match="could not be loaded"),
        served.predictors(tmp_path / HANDOVER_FILE, tmp_path),
    ):
        judging.judge(meeting, HIDDEN, served.RULES, "search", judging.secret_rng(5, ""), served.LIFETIME_S)
    assert int(mark.read_text()) != os.getpid()


def test_splits_are_audited_each_for_itself(tmp_path: Path) -> None:
    """A model that cheats on the rows of one split owes nothing for the other."""
    found = served.score(CheatsOnSomeRows(HIDDEN.rows[HIDDEN.splits["test"]]), tmp_path / "m", HIDDEN)
    assert found.splits["validation"].charged_bpb < found.splits["test"].charged_bpb / 2
    assert found.splits["test"].bpb >= served.true_bpb(HIDDEN, "test")


class CheatsOnSomeRows(served.LookAhead):
    def __init__(self, rows: np.ndarray) -> None:
        super().__init__()
        self.beginnings = {tuple(row[:8]) for row in rows.tolist()}

    def may_look(self, x: torch.Tensor) -> torch.Tensor:
        known = torch.tensor([tuple(row[:8]) in self.beginnings for row in x.tolist()], device=x.device)
        return known[:, None].expand(-1, x.shape[1] - 1)


# The command, on data as the task's preparing scripts leave it.


def write_data(folder: Path, *, rows: int = 24) -> Tokenizer:
    """A hidden store with a real tokenizer, rows of it, and the host's record of a training."""
    tokenizer = Tokenizer.train(["the cat sat on the mat, the dog sat on the log; caf\u00e9 na\u00efve \u2713"], 300)
    tokenizer.save(folder / "tokenizer")
    lengths, bos = tokenizer.byte_lengths(), tokenizer.get_bos_token_id()
    (folder / "search").mkdir()
    splits = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng(number)
        tokens = rng.integers(0, tokenizer.get_vocab_size(), size=(rows, served.TOKENS + 1)).astype(np.uint16)
        tokens[:, 0] = bos
        np.save(folder / "search" / f"{split}.npy", tokens)
        digest = hashlib.sha256(tokens.tobytes()).hexdigest()
        splits[split] = {"bytes": int(lengths[tokens[:, 1:]].sum()), "sha256": digest}
    manifest = {"profile": "cpu", "seed": 11, "public_corpus": True, "splits": splits}
    (folder / "search" / "manifest.json").write_text(json.dumps(manifest))
    seconds = {"total": 31.5, "start_up": 4.0}
    record = {
        "handover_sha256": "ab", "claimed": 1.25, "serving_s": 60, "seconds": seconds, "tickets": served.TICKETS,
    }  # fmt: skip
    (folder / "fit.json").write_text(json.dumps(record))
    return tokenizer


class Uniform(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*x.shape, self.vocabulary)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "meeting").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_PROFILE", "cpu")
    monkeypatch.delenv("AIRA_SEED_SET", raising=False)
    return tmp_path


def test_the_command_reports_both_splits_the_claim_and_everything_audited(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = write_data(place / "data")
    hand_over(Uniform(tokenizer.get_vocab_size()), place)
    with served.predictors(place / HANDOVER_FILE, place / "meeting"):
        assert evaluate(["--report-file", "report.json", "--meeting", "meeting"]) == 0
    report = json.loads((place / "report.json").read_text())
    printed = json.loads(capsys.readouterr().out.partition("--- EVALUATION RESULT ---")[2])
    assert printed == {"BPB": report["test"]}
    lengths = tokenizer.byte_lengths()
    targets = np.load(place / "data" / "search" / "test.npy")[:, 1:]
    scored = (lengths[targets] > 0).sum()
    uniform = scored * math.log2(tokenizer.get_vocab_size()) / lengths[targets].sum()
    assert report["test"] == pytest.approx(uniform, abs=1e-5)
    assert report["claimed"] == 1.25
    details = report["details"]
    assert details["claimed_less_trusted"] == pytest.approx(1.25 - report["validation"])
    assert details["test"]["bytes"] == lengths[targets].sum()
    assert {"total", "start_up", "load", "prefixes", "rows"} <= details["seconds"].keys()
    assert details["public_corpus"]
    assert report["flags"] == []


def damaged(part: str) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        if part == "rows":
            rows = np.load(data / "search" / "test.npy")
            rows[3, 3] ^= 1
            np.save(data / "search" / "test.npy", rows)
        elif part == "bytes":
            manifest = json.loads((data / "search" / "manifest.json").read_text())
            manifest["splits"]["test"]["bytes"] += 1
            (data / "search" / "manifest.json").write_text(json.dumps(manifest))
        elif part == "table":
            table = np.load(data / "tokenizer" / "token_bytes.npy")
            table[270] += 1
            np.save(data / "tokenizer" / "token_bytes.npy", table)
        else:
            (data / part).unlink()

    return damage


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("rows", "rows of test are not those that were made"),
        ("bytes", "their text has"),
        ("table", "not what the merges"),
        ("fit.json", "scored by `aira-bench run`"),
        ("search/validation.npy", "No such file"),
    ],
)
def test_damaged_data_is_a_failure_of_the_evaluation(
    part: str, reason: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(place / "data")
    damaged(part)(place / "data")
    assert evaluate(["--meeting", "meeting"]) == 1
    assert reason in capsys.readouterr().err


def test_outside_of_a_run_the_command_says_how_the_task_is_scored(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(place / "data")
    assert evaluate(["--meeting", "nowhere"]) == 1
    assert "scored by `aira-bench run`" in capsys.readouterr().err


def test_a_byte_table_is_read_from_merges_not_from_text(tmp_path: Path) -> None:
    tokenizer = write_data(tmp_path)
    lengths = read_byte_lengths(tmp_path / "tokenizer")
    assert np.array_equal(lengths, tokenizer.byte_lengths())
    assert lengths[-1] == 0
    # Fragments of characters are tokens of one byte; decoded one by one they would count three.
    fragments = [index for index in range(256) if tokenizer.decode([index]) == "\ufffd"]
    assert fragments
    assert (lengths[fragments] == 1).all()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(ByteTableError, match="no vocabulary"):
        read_byte_lengths(tmp_path / "tokenizer")


def test_nothing_a_judge_imports_can_load_a_handed_over_model() -> None:
    root = Path(commands.__file__).parents[2]
    todo, seen = [Path(commands.__file__)], set()
    while todo:
        path = todo.pop()
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            assert not {"pickle", "cloudpickle", "importlib", "runpy"} & set(names), path
            files = [root / f"{name.replace('.', '/')}.py" for name in names]
            todo += [file for file in files if file.exists() and file not in seen]
    assert Path(judging.__file__) in seen
    assert Path(handover.__file__) not in seen


def test_rules_refuse_more_than_rounding() -> None:
    tolerance = served.RULES.tolerance
    quiet = np.zeros(1000)
    assert not tolerance.is_exceeded(quiet)
    drifting, jumping = quiet.copy(), quiet.copy()
    drifting[:11], jumping[0] = 0.06, -0.51
    assert tolerance.is_exceeded(drifting)
    drifting[0] = 0.0
    assert not tolerance.is_exceeded(drifting)
    assert tolerance.is_exceeded(jumping)
    assert not replace(tolerance, jump=0.6).is_exceeded(jumping)
