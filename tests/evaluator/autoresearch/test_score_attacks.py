"""Models that fight their score, served by processes, and the command that scores them."""

import ast
import json
import math
import os
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import served_models as served
import torch
from torch import nn

from aira_contract.files import HANDOVER_FILE
from aira_contract.reports import PUBLIC
from aira_contract.training_record import TrainingRecord
from aira_evaluator.autoresearch.contract import hidden_rows as hidden
from aira_evaluator.autoresearch.contract.byte_lengths import ByteTableError, read_byte_lengths
from aira_evaluator.autoresearch.contract.hidden_rows import SplitRows, write_split
from aira_evaluator.autoresearch.contract.profiles import PROFILES
from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.autoresearch.handover import model_file as handover
from aira_evaluator.autoresearch.handover.model_file import hand_over
from aira_evaluator.autoresearch.judge import asking, judging
from aira_evaluator.autoresearch.judge import evaluate as commands
from aira_evaluator.autoresearch.judge.evaluate import evaluate, questions_of
from aira_evaluator.autoresearch.judge.judging import Judgement
from aira_evaluator.autoresearch.judge.questions import Questions, draw_questions
from aira_evaluator.autoresearch.wire.connection import Connection, Deadlines, PredictorFailed, accepted
from aira_evaluator.autoresearch.wire.shared_memory import MemoryShape
from aira_evaluator.text.tokenizer import GPT4_SPLIT, BytePairTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench"))

from cheating_models import CHEATS
from remembering_models import MEMORIES, InDentries

HIDDEN = served.hidden_set()
SPLITS = ("validation", "test")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    return served.score(served.Bigram(), tmp_path_factory.mktemp("honest"), HIDDEN)


def test_asked_for_everything_an_honest_model_gets_the_direct_computations_score(tmp_path: Path) -> None:
    found = served.score(served.Bigram(), tmp_path / "m", HIDDEN, served.questions_about(HIDDEN, 10**6))
    assert found.flags == ()
    assert found.window_step == served.RULES.length_step
    for name, split in HIDDEN.splits.items():
        assert found.splits[name].bpb == pytest.approx(served.true_bpb(split), abs=1e-6)
        assert found.splits[name].standard_error < 1e-9
        targets = split.tokens[:, 1:]
        assert found.splits[name].questions == found.splits[name].targets == (targets != served.BOS).sum()
        assert found.splits[name].bytes == split.lengths[targets].sum()
    validation = HIDDEN.splits["validation"]
    assert served.claim(served.Bigram(), validation) == pytest.approx(found.splits["validation"].bpb, abs=1e-5)


def test_asked_for_some_of_it_the_score_is_within_its_error(honest: Judgement) -> None:
    assert honest.flags == ()
    for name, split in HIDDEN.splits.items():
        found = honest.splits[name]
        assert found.questions == served.QUESTIONS
        assert 0 < found.standard_error < 0.02 * found.bpb
        assert found.bpb == pytest.approx(served.true_bpb(split), abs=4 * found.standard_error)


@pytest.mark.parametrize(
    "model",
    [served.FocalLoss, served.SmoothedLoss, served.HalvedLoss, served.UnnormalizedScores, served.CopiedTargets],
)
def test_what_a_model_says_of_its_loss_moves_its_claim_and_not_its_score(
    model: type[served.Bigram], honest: Judgement, tmp_path: Path
) -> None:
    found = served.score(model(), tmp_path / "m", HIDDEN)
    validation = HIDDEN.splits["validation"]
    assert abs(served.claim(model(), validation) - served.claim(served.Bigram(), validation)) > 0.01
    assert found.flags == ()
    for split in SPLITS:
        assert found.splits[split].bpb == pytest.approx(honest.splits[split].bpb, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in {**CHEATS, **MEMORIES} if name != "honest"])
def test_a_cheat_earns_no_more_than_the_honest_model_with_every_token_asked(name: str, tmp_path: Path) -> None:
    """The honest model is the best there is, so whoever earns more has seen what it was to predict."""
    folder = tmp_path / "shared"
    folder.mkdir()
    found = served.score({**CHEATS, **MEMORIES}[name](served.Bigram(), folder), tmp_path / "m", HIDDEN)
    for split, rows in HIDDEN.splits.items():
        result = found.splits[split]
        assert result.bpb > served.true_bpb(rows) - 3 * result.standard_error


def ask_longer_first(
    connection: Connection, asked: Questions, rows: SplitRows, container: int
) -> Iterator[tuple[asking.Indices, asking.Floats]]:
    """The order that the judge must never ask in."""
    for part in reversed(list(asked.rounds(container))):
        yield part, asking.ask(connection, rows.tokens[asked.row[part]], asked.position[part], served.TOKENS)


@pytest.mark.parametrize("name", [name for name in MEMORIES if MEMORIES[name] is not InDentries])  # read by time
def test_the_same_memory_would_win_if_longer_prefixes_were_asked_first(name: str, tmp_path: Path) -> None:
    """Why the order matters, and that these media carry tokens at all."""
    rows, folder = HIDDEN.splits["validation"], tmp_path / "shared"
    folder.mkdir()
    asked = served.questions_about(HIDDEN)["validation"]
    hand_over(MEMORIES[name](served.Bigram(), folder), tmp_path)
    predictor = served.process(tmp_path / HANDOVER_FILE, tmp_path / "here")
    shape = MemoryShape(served.RULES.batch_rows, served.TOKENS, served.VOCABULARY)
    nats = np.full(len(asked), np.nan)
    with accepted(tmp_path / "here", shape, Deadlines(60, 60, 60, 60)) as connection:
        for part, found in ask_longer_first(connection, asked, rows, 0):
            nats[part] = found
    predictor.join()
    before, after = (rows.tokens[asked.row, asked.position - back] for back in (1, 0))
    best, mine = -np.log(served.transitions())[before, after], asked.container == 0
    assert nats[mine].mean() < 0.7 * best[mine].mean()


def test_a_model_that_takes_its_time_before_it_answers_is_flagged(tmp_path: Path) -> None:
    rules = replace(served.RULES, answer_s=served.Loiterer.IDLES_S)
    assert judging.SLOW in served.score(served.Loiterer(), tmp_path / "m", HIDDEN, rules=rules).flags


def test_a_model_that_is_slow_at_every_question_is_flagged(tmp_path: Path) -> None:
    rules = replace(served.RULES, answer_s=0.5, question_s=0.0001)
    assert judging.SLOW in served.score(Dawdler(), tmp_path / "m", HIDDEN, rules=rules).flags


class Dawdler(served.Bigram):
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.01)
        return super().logits(x)


class FixedLength(served.Bigram):
    """Cannot be called with anything but full windows."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1] == served.TOKENS
        return super().logits(x)


class LengthDependent(served.Bigram):
    """Computes something else for short windows."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return super().logits(x) * (1 if x.shape[1] == served.TOKENS else 0.2)


@pytest.mark.parametrize("model", [FixedLength, LengthDependent])
def test_a_model_of_one_length_is_asked_in_full_windows(
    model: type[served.Bigram], honest: Judgement, tmp_path: Path
) -> None:
    found = served.score(model(), tmp_path / "m", HIDDEN)
    assert found.window_step == served.TOKENS
    for split in SPLITS:
        assert found.splits[split].bpb == pytest.approx(honest.splits[split].bpb, abs=1e-6)


def test_another_submission_is_asked_something_else_and_the_same_one_the_same() -> None:
    first, again, other = (served.questions_about(HIDDEN, handover=name)["test"] for name in ("a", "a", "b"))
    assert np.array_equal(first.position, again.position)
    assert not np.array_equal(first.position, other.position)


def test_whoever_knows_the_published_seeds_cannot_choose_a_file_by_its_draw() -> None:
    """Bytes behind a pickle change its hash and no prediction, so a draw that is known can be chosen among many."""

    def asked(draw_secret: str) -> np.ndarray:
        fit = TrainingRecord("ab", None, 60, {}, served.SOCKETS, draw_secret)
        return questions_of(fit, HIDDEN, served.QUESTIONS)["test"].position

    here = asked("01")
    published = draw_questions(HIDDEN.splits["test"], HIDDEN.secret, "ab", served.QUESTIONS).position
    assert np.array_equal(here, asked("01"))
    assert not np.array_equal(here, asked("02"))
    assert not np.array_equal(here, published)


class Recorder(served.Bigram):
    """Writes down everything it is shown."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        with self.path.open("a") as file:
            file.writelines(json.dumps([os.getpid(), time.monotonic(), row]) + "\n" for row in x.tolist())
        return super().logits(x)


def test_no_predictor_ever_holds_a_token_that_it_or_a_later_one_has_yet_to_predict(tmp_path: Path) -> None:
    """Of every question: no window sent before it, to any predictor, holds its prefix with its target behind."""
    served.score(Recorder(tmp_path / "log"), tmp_path / "m", HIDDEN)
    shown = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    order = {}
    for at, (_, _, window) in enumerate(shown):
        for end in range(1, len(window) + 1):
            order.setdefault(tuple(window[:end]), at)
    rows = [row for split in HIDDEN.splits.values() for row in split.tokens.tolist()]
    of_rows = Counter(tuple(row[:end]) for row in rows for end in range(1, len(row)))
    checked = 0
    for name, asked in served.questions_about(HIDDEN).items():
        tokens = HIDDEN.splits[name].tokens.astype(int)
        for row, position in zip(asked.row, asked.position, strict=True):
            prefix, target = tuple(tokens[row, :position]), tuple(tokens[row, : position + 1])
            # Windows are filled with BOS, and short beginnings are those of several rows.
            if of_rows[prefix] == 1 and target[-1] != served.BOS and target in order:
                assert order[target] > order[prefix]
                checked += 1
    assert checked > served.QUESTIONS / 2


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
    mark, sockets = tmp_path / "mark", [tmp_path / name for name in served.SOCKETS]
    questions = served.questions_about(HIDDEN)
    (tmp_path / HANDOVER_FILE).write_bytes(pickle.dumps(RunsCode(mark)))
    with (
        pytest.raises(PredictorFailed, match="could not be loaded"),
        served.predictors(tmp_path / HANDOVER_FILE, sockets),
    ):
        judging.judge(sockets, HIDDEN, questions, served.RULES, np.random.default_rng(5), served.LIFETIME_S)
    assert int(mark.read_text()) != os.getpid()


# The command, on data as the task's preparing scripts leave it.


ROWS = 48


def write_data(folder: Path) -> BytePairTokenizer:
    """A hidden store with a real tokenizer, rows of it, and the host's record of a training."""
    tokenizer = BytePairTokenizer.train(
        ["the cat sat on the mat, the dog sat on the log; caf\u00e9 na\u00efve \u2713"], 300, GPT4_SPLIT
    )
    tokenizer.save(folder / "tokenizer")
    lengths, bos = tokenizer.byte_lengths(), tokenizer.get_bos_token_id()
    (folder / "search").mkdir()
    splits = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng(number)
        tokens = rng.integers(0, tokenizer.get_vocab_size(), size=(ROWS, served.TOKENS + 1)).astype(np.uint16)
        tokens[:, 0] = bos
        rows = SplitRows(split, tokens, lengths, np.arange(ROWS) % served.CONTAINERS, ROWS)
        said = rng.normal(5, 1, (ROWS, served.TOKENS, 2)).astype(np.float16)
        splits[split] = write_split(folder / "search", rows, References.of(said, rows.bytes_of_targets()))
    manifest = {
        "schema": hidden.SCHEMA, "profile": "cpu", "seed_set": "search", "seed": 11, "public_corpus": True,
        "splits": splits,
    }  # fmt: skip
    (folder / "search" / "manifest.json").write_text(json.dumps(manifest))
    (folder / PUBLIC).mkdir()
    tokens = np.random.default_rng(9).integers(0, len(lengths), size=(ROWS, served.TOKENS + 1)).astype(np.uint16)
    rows = SplitRows(PUBLIC, tokens, lengths, np.zeros(ROWS, dtype=np.int64), ROWS)
    said = np.ones((ROWS, served.TOKENS, 1), dtype=np.float16)
    found = write_split(folder / PUBLIC, rows, References.of(said, rows.bytes_of_targets()))
    manifest = {"schema": hidden.SCHEMA, "profile": "cpu", "seed_set": None, "splits": {PUBLIC: found}}
    (folder / PUBLIC / "manifest.json").write_text(json.dumps(manifest))
    seconds = {"total": 31.5, "start_up": 4.0}
    record = {
        "handover_sha256": "ab",
        "draw_secret": "00",
        "stretch": 1.0,
        "claimed": 1.25,
        "serving_s": 60,
        "seconds": seconds,
        "sockets": served.SOCKETS,
    }
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
    (tmp_path / "sockets").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_PROFILE", "cpu")
    monkeypatch.delenv("AIRA_SEED_SET", raising=False)
    return tmp_path


def test_the_command_reports_both_splits_their_errors_and_the_claim(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = write_data(place / "data")
    hand_over(Uniform(tokenizer.get_vocab_size()), place)
    with served.predictors(place / HANDOVER_FILE, [place / "sockets" / name for name in served.SOCKETS]):
        assert evaluate(["--report-file", "report.json", "--socket-volume", "sockets"]) == 0
    report = json.loads((place / "report.json").read_text())
    printed = json.loads(capsys.readouterr().out.partition("--- EVALUATION RESULT ---")[2])
    assert printed == {"BPB": report["test"]}
    lengths = tokenizer.byte_lengths()
    targets = np.load(place / "data" / "search" / "test.npy")[:, 1:]
    scored = (lengths[targets] > 0).sum()
    uniform = scored * math.log2(tokenizer.get_vocab_size()) / lengths[targets].sum()
    assert report["test"] == pytest.approx(uniform, abs=1e-5)
    assert report["test_standard_error"] == pytest.approx(0, abs=1e-9)  # every answer costs the same
    assert {"validation_standard_error", "validation"} <= report.keys()
    assert report["claimed"] == 1.25
    targets = np.load(place / "data" / PUBLIC / f"{PUBLIC}.npy")[:, 1:]
    assert report["public"] == pytest.approx(
        (lengths[targets] > 0).sum() * math.log2(tokenizer.get_vocab_size()) / lengths[targets].sum(), abs=1e-5
    )
    assert report["public_standard_error"] == pytest.approx(0, abs=1e-9)
    targets = np.load(place / "data" / "search" / "test.npy")[:, 1:]
    details = report["details"]
    assert details["claimed_less_trusted"] == pytest.approx(1.25 - report["validation"])
    assert details["test"]["bytes"] == lengths[targets].sum()
    assert details["test"]["questions"] == min(scored, PROFILES["cpu"].questions["search"])
    assert {"total", "start_up", "predict_1", "longest_answer", "answers"} <= details["seconds"].keys()
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
        ("rows", "test.npy is not what was made"),
        ("bytes", "their text has"),
        ("table", "not what the merges"),
        ("fit.json", "scored by `aira-bench run`"),
        ("search/validation.npy", "validation.npy"),
        (f"{PUBLIC}/{PUBLIC}.npy", "public.npy"),
    ],
)
def test_damaged_data_is_a_failure_of_the_evaluation(
    part: str, reason: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(place / "data")
    damaged(part)(place / "data")
    assert evaluate(["--socket-volume", "sockets"]) == 1
    assert reason in capsys.readouterr().err


def test_outside_of_a_run_the_command_says_how_the_task_is_scored(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(place / "data")
    assert evaluate(["--socket-volume", "nowhere"]) == 1
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
    root = Path(commands.__file__).parents[3]
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
