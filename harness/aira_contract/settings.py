"""What task scripts are told by environment variables, and the words those have.

Set by the host for every container of an evaluation or a preparation; read by the scripts of task folders through the
evaluator. Scripts that somebody runs by hand may leave the variables out: each has a default, named first in its list.
Not covered: variables of one side alone.
"""

from typing import Literal

PROFILE_VARIABLE = "AIRA_PROFILE"
ProfileName = Literal["paper", "cpu"]
PROFILES: tuple[ProfileName, ...] = ("paper", "cpu")
"""Sizes of data, models and budgets: the paper's, and one shrunk to a CPU. Scores of the two are never compared."""
ON_GPUS: frozenset[ProfileName] = frozenset({"paper"})
"""Profiles whose containers get a GPU where the machine has one; the host alone reads this."""

SEED_SET_VARIABLE = "AIRA_SEED_SET"
SeedSet = Literal["search", "final"]
SEED_SETS: tuple[SeedSet, ...] = ("search", "final")
"""Hidden data and seeds: of a search, and of the one evaluation that confirms what a search submitted."""

TRAINING_VARIABLE = "AIRA_TRAINING"
"""Which training of one artifact a judge does, counted from 0: 0 trains from the seed that lies beside the hidden data,
each other number from one of its own that follows from it. Told to evaluations alone."""
LEAST_TRAININGS = 3
"""How many trainings confirm what a search submitted where a task's profile asks for no more."""

SOURCE_VARIABLE = "AIRA_DATA_SOURCE"
SourceKind = Literal["public", "synthetic"]
SOURCES: tuple[SourceKind, ...] = ("public", "synthetic")
"""What data is made from: public files, or a stand-in that the task generates. Told to preparing scripts alone."""

HIDDEN_KEY_VARIABLE = "AIRA_HIDDEN_KEY"
"""64 hexadecimal digits that hidden data is derived from besides the published seeds; told to `evaluate_prepare.py`
alone, and to nothing else that runs. Absent: the published seeds as they are."""

TRAINING_SEED_VARIABLE = "AIRA_TRAINING_SEED"
"""A number that a submitted script is to draw its initial weights and batches by, where it is there: each training that
confirms a script has one of its own, which nobody knew before. Absent while a search goes on."""

TIME_BUDGET_VARIABLE = "AIRA_TIME_BUDGET_S"
"""Seconds of training that a submitted script has. The clock that counts is outside, whatever the script reads here."""
