"""Selection of architectures and the layer-wise vote."""

import argparse
import json
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cli import aggregate as command
from aira_bench.errors import UsageError
from aira_bench.scaling.aggregate import ScoredArchitecture, Voter, select_by_clusters, select_by_rank, vote
from aira_bench.scaling.notation import SYMBOLS, read_pattern
from aira_bench.scaling.pictures import votes_svg

_PATTERNS = st.lists(st.sampled_from(SYMBOLS), min_size=5, max_size=5).map(tuple)
_SCORED = st.lists(
    st.builds(
        ScoredArchitecture, st.sampled_from(["mad", "stories"]), _PATTERNS, st.integers(0, 9).map(float), st.just(False)
    ),
    min_size=1,
    max_size=30,
)


def scored(text: str, score: float, dataset: str = "mad", lower: bool = False) -> ScoredArchitecture:
    return ScoredArchitecture(dataset, read_pattern(text), score, lower)


def voter(text: str, weight: Fraction, rank: int = 1) -> Voter:
    return Voter("mad", read_pattern(text), 0.0, rank, weight)


def test_weights_decay_by_rank_and_datasets_weigh_the_same() -> None:
    items = [scored("AM", 0.9), scored("MA", 0.5), scored("MM", 0.1), scored("AA", 2.0, "text", lower=True)]
    voters = select_by_rank(items, top=2, decay=Fraction(1, 2))
    weights = {(item.dataset, item.architecture): item.weight for item in voters}
    assert weights == {
        ("mad", ("mA", "M")): Fraction(1, 3),
        ("mad", ("M", "mA")): Fraction(1, 6),
        ("text", ("mA", "mA")): Fraction(1, 2),
    }


def test_lower_is_better_turns_the_ranking() -> None:
    items = [scored("AM", 3.0, lower=True), scored("MA", 2.0, lower=True)]
    assert select_by_rank(items, top=1)[0].architecture == ("M", "mA")


def test_tied_scores_share_rank_and_weight_and_repeats_count_once() -> None:
    items = [scored("AM", 0.4), scored("AM", 0.6), scored("MA", 0.5), scored("MM", 0.1)]
    voters = select_by_rank(items, decay=Fraction(1, 2))
    assert [item.weight for item in voters] == [Fraction(3, 7), Fraction(3, 7), Fraction(1, 7)]
    assert [item.rank for item in voters] == [1, 1, 3]
    assert voters[0].score == 0.5


def test_a_cut_keeps_who_ties_as_a_whole() -> None:
    """Places 1, 2 and 3 weigh 1, 1/2 and 1/4; the two that tie for the second share 3/8 each, of 7/4 in all."""
    items = [scored("AA", 0.9), scored("AM", 0.5), scored("MA", 0.5), scored("MM", 0.1)]
    for order in (items, items[::-1]):
        voters = {item.architecture: item for item in select_by_rank(order, top=2, decay=Fraction(1, 2))}
        assert {item.rank for item in voters.values()} == {1, 2}
        assert voters["mA", "mA"].weight == Fraction(4, 7)
        assert voters["mA", "M"].weight == voters["M", "mA"].weight == Fraction(3, 14)
    assert len(select_by_rank(items, top=3)) == 3, "nobody else equals the third place"
    assert len(select_by_rank([scored("AM", 0.5), scored("MA", 0.5)], top=1)) == 2


def test_a_name_decides_no_vote_among_equal_scores() -> None:
    """Written out, `M` stands before `mA`: ranked by that, M would have had rank 1 and the first layer's tied vote."""
    voters = select_by_rank([scored("MA", 0.5), scored("AM", 0.5)])
    assert {item.rank for item in voters} == {1}
    assert vote(voters).pattern == ("mA", "mA")


@given(_SCORED, st.integers(1, 10))
def test_rank_and_weight_follow_from_scores_alone(items: list[ScoredArchitecture], top: int) -> None:
    """Names exchanged, everybody has the rank, the weight and the place at the cut that the other name had."""
    other = dict(zip(SYMBOLS, (*SYMBOLS[1:], SYMBOLS[0]), strict=True))
    renamed = [
        ScoredArchitecture(item.dataset, tuple(other[symbol] for symbol in item.architecture), item.score, False)
        for item in items
    ]

    def facts(voters: tuple[Voter, ...]) -> list[tuple[str, float, int, Fraction]]:
        return sorted((item.dataset, item.score, item.rank, item.weight) for item in voters)

    assert facts(select_by_rank(items, top=top)) == facts(select_by_rank(renamed, top=top))
    for item in select_by_rank(items, top=top):
        better = {each.architecture for each in select_by_rank(items, top=10**6)
                  if each.dataset == item.dataset and each.score > item.score}  # fmt: skip
        assert item.rank == len(better) + 1


@given(_SCORED, st.integers(1, 10), st.fractions(Fraction(1, 10), 1))
def test_weights_add_up_to_one(items: list[ScoredArchitecture], top: int, decay: Fraction) -> None:
    voters = select_by_rank(items, top=top, decay=decay)
    assert sum(item.weight for item in voters) == 1
    for dataset in {item.dataset for item in voters}:
        ours = [item for item in voters if item.dataset == dataset]
        assert [item.weight for item in ours] == sorted((item.weight for item in ours), reverse=True)
        last = max(item.rank for item in ours)
        assert last <= top
        assert len([item for item in ours if item.rank < last]) < top


@given(_SCORED, st.integers(0, 2))
def test_votes_do_not_depend_on_the_order_of_scores(items: list[ScoredArchitecture], condition: int) -> None:
    assert vote(select_by_rank(items), condition) == vote(select_by_rank(items[::-1]), condition)


@given(_SCORED, st.integers(0, 2))
def test_shares_are_shares_and_the_winner_has_most(items: list[ScoredArchitecture], condition: int) -> None:
    result = vote(select_by_rank(items), condition)
    for layer, ballot in enumerate(result.votes):
        assert sum(ballot.shares.values()) == 1
        assert ballot.shares[ballot.chosen] == max(ballot.shares.values())
        assert ballot.condition_layers == min(condition, layer)
        assert ballot.voters > 0
    assert result.pattern == tuple(ballot.chosen for ballot in result.votes)


def test_one_architecture_elects_itself() -> None:
    pattern = read_pattern("5(2A-M)-A")
    for condition in (0, 1, 2):
        assert vote([voter("5(2A-M)-A", Fraction(1))], condition).pattern == pattern


def test_conditions_follow_what_was_chosen() -> None:
    third = Fraction(1, 3)
    voters = [voter("AAM", third), voter("AMA", third, 2), voter("MMA", third, 3)]
    assert vote(voters, 0).pattern == read_pattern("AMA")
    # After A, one voter has A and one M: the better ranked one decides, and its next layer is M.
    assert vote(voters, 1).pattern == read_pattern("AAM")


def test_ties_go_to_the_better_rank_then_to_the_symbol_order() -> None:
    half = Fraction(1, 2)
    assert vote([voter("M", half, 1), voter("A", half, 2)]).pattern == ("M",)
    assert vote([voter("M", half, 1), voter("A", half, 1)]).pattern == ("mA",)


def test_the_best_cluster_votes() -> None:
    good, middle, bad = [0.90, 0.91, 0.92], [0.50, 0.52], [0.1, 0.12, 0.11, 0.13]
    texts = ["AAAM", "AAMA", "AMAA", "MAAA", "MMMM", "MMMA", "MMAM", "MAMM", "AMMM"]
    items = [scored(text, score) for text, score in zip(texts, good + middle + bad, strict=True)]
    voters = select_by_clusters(items)
    assert sorted(item.score for item in voters) == good
    assert {item.weight for item in voters} == {Fraction(1, 3)}
    losses = [ScoredArchitecture("mad", item.architecture, item.score, True) for item in items]
    assert sorted(item.score for item in select_by_clusters(losses)) == sorted(bad)


def test_refuses_what_cannot_be_aggregated() -> None:
    with pytest.raises(UsageError, match="no scored"):
        select_by_rank([])
    with pytest.raises(UsageError, match="2 and 3 layers"):
        select_by_rank([scored("AM", 1), scored("AMA", 1)])
    with pytest.raises(UsageError, match="both"):
        select_by_rank([scored("AM", 1), scored("MA", 1, lower=True)])
    with pytest.raises(UsageError, match="decay 2"):
        select_by_rank([scored("AM", 1)], decay=Fraction(2))
    with pytest.raises(UsageError, match="1 different scores cannot form 3"):
        select_by_clusters([scored("AM", 1), scored("MA", 1)])


def test_the_picture_has_a_bar_for_each_share() -> None:
    result = vote([voter("AM", Fraction(3, 4)), voter("MM", Fraction(1, 4), 2)])
    root = ET.fromstring(votes_svg(result.votes, "votes"))
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "layer 1: A: attention 75%" in titles
    assert "layer 2: M: MLP 100%" in titles


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["aggregate", *arguments])
    return int(args.handle(args))


def test_command_reads_scores_and_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture = tmp_path / "scores.json", tmp_path / "votes.svg"
    rows = [
        {"dataset": "mad", "architecture": text, "score": score, "lower_is_better": False}
        for text, score in (("AIRAformer-D", 0.9), ("8(A-M)", 0.5), ("16M", 0.1))
    ]
    path.write_text(json.dumps({"schema": 1, "architectures": rows}))
    assert run_command("--scores", str(path), "--json", "--decay", "0.3", "--picture", str(picture)) == 0
    document = json.loads(capsys.readouterr().out)
    assert [entry["condition_layers"] for entry in document["patterns"]] == [0, 1, 2]
    assert document["patterns"][0]["pattern"] == "5(2A-M)-A"
    ET.parse(picture)
    with pytest.raises(UsageError, match="cannot be written"):
        run_command("--scores", str(path), "--picture", str(tmp_path / "absent" / "votes.svg"))
    for clustered in ("scores", "architectures"):
        assert run_command("--scores", str(path), "--select", "clusters", "--cluster", clustered) == 0
        said = capsys.readouterr().out
        assert "5(2A-M)-A" in said
        assert f"1 voters from 1 dataset: best of 3 clusters of {clustered}" in said


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "holds no scores"),
        ('{"schema": 2, "architectures": []}', "schema"),
        ('{"schema": 1, "architectures": [], "more": 1}', "more"),
        (
            '{"schema": 1, "architectures": [{"dataset": "d", "architecture": "X", "score": 1.0,'
            ' "lower_is_better": true}]}',
            "architectures.0: .*character 1",
        ),
        (
            '{"schema": 1, "architectures": [{"dataset": "d", "architecture": "A", "score": 1e308,'
            ' "lower_is_better": true}]}',
            r"architectures\.0\.score: Input should be less",
        ),
        ('{"schema": 1, "architectures": []}', "no scored"),
    ],
)
def test_bad_score_files_are_one_line(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=problem):
        run_command("--scores", str(path))


def test_the_command_needs_something_to_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Nothing to aggregate"):
        run_command()
    with pytest.raises(UsageError, match="cannot be read"):
        run_command("--scores", str(tmp_path / "absent.json"))
