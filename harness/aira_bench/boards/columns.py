"""The columns of boards, each written once; every format is made from this list.

Files (CSV, JSON) have all columns, in the order of `COLUMNS`. Who reads them by position must not be disturbed, so a
new column goes to the end. Tables for people have those with a `shown` part, from left to right by its `place`.

Not covered: what a figure means (the properties of `Row` define it) and the layout of a format
(`aira_bench.boards.formats`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aira_bench.boards.replicates import Spread
from aira_bench.boards.rows import Row, RowStanding
from aira_bench.keys import SIGNED_HERE
from aira_bench.parquet import Kind
from aira_bench.record.node import ModelUse
from aira_bench.shown_numbers import figure
from aira_bench.tasks.metadata import Difference

Scalar = str | int | float | None
"""What a file has in one cell; None where it is unknown."""


@dataclass(frozen=True)
class Shown:
    """How tables for people show a column."""

    place: int
    """Order from the left; gaps are left for columns to come."""
    heading: str
    text: Callable[[Row], str]
    """A row's cell; `-` where it has nothing. A column of which all rows say `-` is left out."""
    explained: str = ""
    """What the legend says of it; empty where the heading says enough."""


@dataclass(frozen=True)
class Column:
    """One thing that boards say of a row."""

    name: str
    """Key of files. A spread takes two: `name_mean` and `name_sd`."""
    value: Callable[[Row], Scalar | Spread]
    shown: Shown | None = None
    spread: bool = False
    """The value is a `Spread`, or None without any value."""
    estimated: bool = False
    """The spread's values may be estimates; files then have `name_standard_error` too."""
    kind: Kind = "text"
    """What typed files hold of it, whether or not a board has any value; numbers of a spread are fractions."""

    def kinds(self) -> dict[str, Kind]:
        """Return what the cells of the column hold, by the keys of files."""
        if not self.spread:
            return {self.name: self.kind}
        names = ("mean", "sd", "standard_error") if self.estimated else ("mean", "sd")
        return {f"{self.name}_{name}": "float" for name in names}

    def cells(self, row: Row) -> Iterator[tuple[str, Scalar]]:
        """Yield what files have of a row under this column: keys and values."""
        value = self.value(row)
        if not self.spread:
            assert not isinstance(value, Spread), self.name
            yield self.name, value
            return
        assert value is None or isinstance(value, Spread), self.name
        yield f"{self.name}_mean", value.mean if value else None
        yield f"{self.name}_sd", value.deviation if value else None
        if self.estimated:
            yield f"{self.name}_standard_error", value.standard_error if value else None


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _count(value: int) -> str:
    return str(value or "-")


def _spread(value: Spread | None) -> str:
    if value is None:
        return "-"
    deviation = "" if value.deviation is None else f" +- {figure(value.deviation)}"
    return f"{figure(value.mean)}{deviation}" + (
        "" if value.standard_error is None else f" ({figure(value.standard_error)})"
    )


def _agent(row: Row) -> str:
    return row.entry.agent if row.entry.fitness == "hidden" else f"{row.entry.agent} (claimed fitness)"


def _published_rate(row: Row) -> str:
    """The paper's rate of valid submissions where it is another than ours."""
    ours, published = row.valid_submission_rate, row.published_submission_rate
    same = published is None or (ours is not None and math.isclose(ours, published))
    return "-" if same else _rate(published)


def _seeds(row: Row) -> str:
    """Seeds that ended in some run, of those begun; and where a seed was run again, the same of all runs of seeds."""
    seeds = _of(len({each.seed for each in row.ended}), len(row.seeds))
    runs = _of(len(row.ended), len(row.results))
    return seeds if runs == seeds else f"{seeds} ({runs} runs)"


def _of(part: int, whole: int) -> str:
    return str(whole) if part == whole else f"{part} of {whole}"


def _run_again(row: Row) -> str:
    again = [f"{seed} x{count}" for seed, count in sorted(row.runs_by_seed.items()) if count > 1]
    told = ", ".join(again[:3]) + (f" and {len(again) - 3} more" if len(again) > 3 else "")
    others = len(set(row.runs_by_seed) - set(row.seeds))
    return "; ".join(filter(None, [told, f"{others} seed{'s' * (others > 1)} not shown" if others else ""])) or "-"


def _changed(row: Row) -> str:
    names = row.entry.changed.split(", ") if row.entry.changed else []
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "") or "-"


def _paired(name: Difference) -> Callable[[Row], Spread | None]:
    """The difference of that name from the paired task; None in rows of other tasks."""
    return lambda row: row.paired.scores if row.paired is not None and row.paired.name == name else None


def _with_count(value: Spread | None) -> str:
    return _spread(value) + ("" if value is None else f" (n {value.count})")


def _left_out(row: Row) -> str | None:
    return "; ".join(f"{each.run}: {each.why}" for each in row.left_out) or None


def _identity(row: Row) -> str:
    return "; ".join(f"{name} {value}" for name, value in row.entry.identity.facts.items())


def _standing(row: Row) -> str:
    """In rows without a place in the order why, and how much of them is confirmed."""
    if row.standing is RowStanding.CONFIRMED:
        return "-"
    if row.standing is RowStanding.PARTLY:
        return f"{row.standing} ({len(row.decided)} of {len(row.judged)})"
    if row.standing is RowStanding.UNFINISHED and row.judged:
        return f"{row.standing} ({len(row.ended)} of {len(row.results)})"
    return str(row.standing)


def _confirmed(row: Row) -> str:
    """The figure, and of how many seeds it is where that is not all of those with a test score."""
    known, all_seeds = row.confirmed.count if row.confirmed else 0, row.test.count if row.test else 0
    return _spread(row.confirmed) + (f" ({known} of {all_seeds})" if 0 < known < all_seeds else "")


def _deviation(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _normalized(row: Row) -> str:
    if row.not_normalized:
        return f"none: {row.not_normalized}"
    if row.normalized is None:
        return "-"
    corrected = f" ({row.normalized_corrected.mean:.3f})" if row.normalized_corrected else ""
    return f"{row.normalized.mean:.3f}{corrected}"


def _steps(row: Row) -> str:
    errors = f", {row.infra_errors} infra" if row.infra_errors else ""
    return f"{row.steps}{errors}" + (f", {row.retries} retried" if row.retries else "")


def tokens(use: ModelUse) -> str:
    """Prompt and answer tokens together; `-` without a model, `unknown` where a provider did not count."""
    if use.calls == 0:
        return "-"
    if use.input_tokens is None or use.output_tokens is None:
        return "unknown"
    return f"{use.input_tokens + use.output_tokens:,}"


def cost(use: ModelUse) -> str:
    """US dollars; `-` without a model, `unknown` where a price or a count is."""
    if use.calls == 0:
        return "-"
    return "unknown" if use.cost_usd is None else f"${figure(use.cost_usd)}"


def duration(seconds: float) -> str:
    """`43 s`, `5 min 3 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


COLUMNS = (
    Column("agent", lambda row: row.entry.agent, Shown(10, "agent", _agent)),
    Column("scaffold", lambda row: row.entry.scaffold, Shown(20, "scaffold", lambda row: row.entry.scaffold)),
    Column("fitness", lambda row: row.entry.fitness),
    Column("steps", lambda row: row.entry.steps, kind="int"),
    Column("hours", lambda row: row.entry.hours, kind="float"),
    Column("record", lambda row: row.entry.record, Shown(
        50, "record", lambda row: "-" if row.entry.record == SIGNED_HERE else row.entry.record,
        "who signed the runs, where that is not this machine.",
    )),
    Column("isolation", lambda row: row.entry.isolation, Shown(
        160, "isolation", lambda row: row.entry.isolation,
        "what kept containers of untrusted code from reading what others left in the kernel (SECURITY.md).",
    )),
    Column("seeds", lambda row: len(row.seeds), Shown(
        30, "seeds", _seeds, "a mean is over seeds, of the mean over a seed's runs; no run takes another's place.",
    ), kind="int"),
    Column("seeds_ended", lambda row: len({each.seed for each in row.ended}), kind="int"),
    Column("valid_submission_rate", lambda row: row.valid_submission_rate, Shown(
        60, "VSR", lambda row: _rate(row.valid_submission_rate),
        "valid submission rate over seeds, without those that infrastructure took.",
    ), kind="float"),
    Column("valid_step_rate", lambda row: row.valid_step_rate, Shown(
        180, "valid steps", lambda row: _rate(row.valid_step_rate),
    ), kind="float"),
    Column("steps_taken", lambda row: row.steps, Shown(
        170, "steps", _steps,
        "taken; `infra` were lost to infrastructure, `retried` are attempts beyond the first of each.",
    ), kind="int"),
    Column("infra_errors", lambda row: row.infra_errors, kind="int"),
    Column("retries", lambda row: row.retries, kind="int"),
    Column("runs_by_seed", lambda row: " ".join(f"{seed}:{n}" for seed, n in sorted(row.runs_by_seed.items())), Shown(
        40, "run again", _run_again,
        "seeds begun more than once, and how often, runs recorded here that are not shown included; all that are shown "
        "count.",
    )),
    Column("seeds_flagged", lambda row: row.flagged, Shown(
        110, "flagged", lambda row: _count(row.flagged),
        "seeds whose submission the judge's checks noticed something about.",
    ), kind="int"),
    Column("seeds_unranked", lambda row: row.unranked, Shown(
        120, "unranked", lambda row: _count(row.unranked),
        "seeds whose submission a control disqualifies (aira-bench status names it); in no mean, and no valid "
        "submission.",
    ), kind="int"),
    Column("runs_not_shown", lambda row: row.runs_not_shown, kind="int"),
    Column("seeds_awaiting_confirm", lambda row: row.awaiting, Shown(
        130, "awaits confirm", lambda row: _count(row.awaiting),
        "seeds whose submission scored above the best published; in no mean before aira-bench confirm has run its "
        "controls.",
    ), kind="int"),
    Column("seed_seconds", lambda row: round(row.wall_s, 3), Shown(
        190, "time", lambda row: duration(row.wall_s), "summed over seeds.",
    ), kind="float"),
    Column("model_calls", lambda row: row.model_use.calls, kind="int"),
    Column("input_tokens", lambda row: row.model_use.input_tokens, Shown(
        200, "tokens", lambda row: tokens(row.model_use),
    ), kind="int"),
    Column("output_tokens", lambda row: row.model_use.output_tokens, kind="int"),
    Column("cost_usd", lambda row: row.model_use.cost_usd, Shown(
        210, "cost", lambda row: cost(row.model_use),
    ), kind="float"),
    Column("validation", lambda row: row.validation, Shown(
        70, "validation", lambda row: _spread(row.validation),
        "of the submitted step, like test; mean and standard deviation over seeds; in brackets, where scores are "
        "estimates, the standard error of that mean, without the luck of training.",
    ), spread=True, estimated=True),
    Column("test", lambda row: row.test, Shown(
        80, "test", lambda row: _spread(row.test),
    ), spread=True, estimated=True),
    Column("best_test", lambda row: row.best_test, Shown(
        150, "best test met", lambda row: _spread(row.best_test), "best of all steps, not chosen by it.",
    ), spread=True),
    Column("confirmed", lambda row: row.confirmed, Shown(
        90, "confirmed", _confirmed,
        "test score of the submission trained again, several times from fresh seeds, on hidden data that no search has "
        "seen; it alone orders rows. Mean and standard deviation over seeds, which holds both of the next two.",
    ), spread=True, estimated=True),
    Column("claimed", lambda row: row.claimed, spread=True),
    Column("claimed_less_trusted", lambda row: row.claimed_less_trusted, Shown(
        99, "claimed - trusted", lambda row: _spread(row.claimed_less_trusted),
        "the submission's own number less trusted validation, which is of other rows, so that it need not be 0 for who "
        "is honest.",
    ), spread=True),
    Column("normalized", lambda row: row.normalized, Shown(
        140, "NS", _normalized,
        "normalized confirmed score, 0 for a seed without a valid submission, 1 at the published best (in brackets: "
        "against a corrected figure). Published figures are of the paper's sizes and of real data, so scores of others "
        "have none.",
    ), spread=True),
    Column("normalized_corrected", lambda row: row.normalized_corrected, spread=True),
    Column("changed", lambda row: row.entry.changed or None, Shown(
        45, "changed", _changed,
        "what was not as recorded when the runs went on, which their user accepted (aira-bench status names it).",
    )),
    Column("replicates", lambda row: len(row.results), kind="int"),
    Column("replicates_ended", lambda row: len(row.ended), kind="int"),
    Column("differs_in", lambda row: row.differs_in or None, Shown(
        25, "differs in", lambda row: row.differs_in or "-",
        "what tells rows apart that look the same; JSON and CSV have all that makes an experiment (`identity`).",
    )),
    Column("identity", _identity),
    Column("configurable_less_fixed", _paired("configurable - fixed"), Shown(
        85, "configurable - fixed", lambda row: _with_count(_paired("configurable - fixed")(row)),
        "test score less that of the same seeds and experiment on the task whose hyperparameters are fixed, on the "
        "same hidden data; n seeds.",
    ), spread=True),
    Column("with_less_without_literature", _paired("with - without literature"), Shown(
        86, "with - without literature", lambda row: _with_count(_paired("with - without literature")(row)),
        "test score less that of the same seeds and experiment on the task without literature, on the same hidden "
        "data; n seeds.",
    ), spread=True),
    Column("paired_seeds", lambda row: row.paired.scores.count if row.paired else 0, kind="int"),
    Column("left_out", _left_out),
    Column("published_submission_rate", lambda row: row.published_submission_rate, Shown(
        61, "VSR, paper", _published_rate,
        "the paper's, where it differs: submitted runs over all runs, those taken by infrastructure and those "
        "disqualified later included.",
    ), kind="float"),
    Column("standing", lambda row: str(row.standing), Shown(
        28, "standing", _standing,
        "why a row has no place in the order, and how much of it has ended, or is confirmed; aira-bench resume and "
        "aira-bench confirm do the rest.",
    )),
    Column("rank", lambda row: row.rank or None, Shown(
        27, "rank", lambda row: row.rank or "-",
        "between which ranks a row lies: rows are ordered where a paired test on common seeds tells them apart and "
        "training alone does not explain it, else tied; a seed without a valid submission counts as the table's worst "
        "score, in ranks as in the order of rows.",
    )),
    Column("trainings", lambda row: row.trainings, kind="int"),
    Column("search_deviation", lambda row: row.spread.search, Shown(
        91, "of searches", lambda row: _deviation(row.spread.search),
        "standard deviation of confirmed scores between searches, the noise of training taken out.",
    ), kind="float"),
    Column("training_deviation", lambda row: row.spread.training, Shown(
        92, "of trainings", lambda row: _deviation(row.spread.training),
        "standard deviation between trainings of one submission.",
    ), kind="float"),
    Column("overclaim", lambda row: row.overclaim, Shown(
        100, "overclaim", lambda row: _spread(row.overclaim),
        "how much better submissions say they are than the judge finds on the same public rows: positive is too good, "
        "for every metric; about 0 for who is honest, and for who made those rows part of the submission.",
    ), spread=True),
    Column("not_normalized", lambda row: row.not_normalized or None),
    Column("ordered_by", lambda row: row.ordered_by),
)  # fmt: skip


def shown_columns() -> tuple[Shown, ...]:
    """Return the columns of tables for people, from left to right."""
    return tuple(sorted((column.shown for column in COLUMNS if column.shown), key=lambda shown: shown.place))
