"""Constants of a configurable model.py: read from its text, in both spellings, refused rather than guessed."""

import builtins
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_evaluator.lra.contract.hyperparameters import (
    CONSTANTS,
    Constant,
    ConstantsError,
    Hyperparameters,
    read_hyperparameters,
)
from aira_evaluator.lra.contract.profiles import CPU_LISTOPS, PROFILES, LraProfile

DEFAULTS = CPU_LISTOPS.defaults


def read(source: str, profile: LraProfile = CPU_LISTOPS) -> Hyperparameters:
    return read_hyperparameters(source, profile.defaults, profile.ranges, profile.max_train_tokens)


def test_without_constants_the_defaults_hold() -> None:
    assert read("import flax\n\nOTHER = 3\n") == DEFAULTS


@pytest.mark.parametrize(
    ("constant", "name"), [(constant, name) for constant in CONSTANTS for name in constant.spellings], ids=str
)
def test_every_constant_is_read_in_every_spelling(constant: Constant, name: str) -> None:
    value = int(CPU_LISTOPS.ranges[constant.field][0]) + 2 if constant.kind is int else 0.0125
    for line in (f"{name} = {value}", f"{name}: {constant.kind.__name__} = {value}"):
        assert asdict(read(line)) == {**asdict(DEFAULTS), constant.field: value}


@given(st.sampled_from(CONSTANTS), st.data())
def test_what_is_in_range_is_taken_and_what_is_not_is_refused(constant: Constant, data: st.DataObject) -> None:
    low, high = CPU_LISTOPS.ranges[constant.field]
    numbers = st.integers(-(10**6), 10**10) if constant.kind is int else st.floats(-1, 1, allow_nan=False)
    value = data.draw(numbers)
    source = f"TRAIN_STEPS = 1\n{constant.spellings[0]} = {value!r}\n" if constant.field != "train_steps" else (
        f"BATCH_SIZE = 1\n{constant.spellings[0]} = {value!r}\n"
    )  # fmt: skip
    if low <= value <= high:
        assert getattr(read(source), constant.field) == value
    else:
        with pytest.raises(ConstantsError, match=f"line 2: {constant.spellings[0]} is "):
            read(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("LR = 0.5", "line 1: LR is 0.5, expected 1e-06 to 0.05"),
        ("LR = 1e999", "line 1: LR is inf, expected"),
        ("LR = -1e-3", "line 1: LR is -0.001, expected"),
        ("LR = '0.1'", "line 1: LR is not a literal number"),
        ("LR = True", "line 1: LR is not a literal number"),
        ("LR = 10 ** -3", "line 1: LR is not a literal number"),
        ("LR = float('nan')", "line 1: LR is not a literal number"),
        ("BATCH_SIZE = 32.0", "line 1: BATCH_SIZE is 32, expected an integer"),
        (f"BATCH_SIZE = {10**40}", "line 1: BATCH_SIZE has more than 64 bits"),
        ("x = 1\nLR = 1e-3\nLEARNING_RATE = 2e-3", "line 3: LEARNING_RATE is 0.002, but LR was set to 0.001 before"),
        ("LR = 1e-3\nLR = 2e-3", "line 2: LR is 0.002, but LR was set to 0.001 before"),
        ("if True:\n    LR = 1e-3", "line 1: LR must be set once, at the top level"),
        ("for LR in (1e-3,):\n    pass", "line 1: LR must be set once, at the top level"),
        ("LR, BATCH_SIZE = 1e-3, 8", "must be set once, at the top level"),
        ("LR += 1e-3", "line 1: LR must be set once, at the top level"),
        ("(LR := 1e-3)", "line 1: LR must be set once, at the top level"),
        ("from settings import LR", "line 1: LR must be set once, at the top level"),
        ("import settings as LR", "line 1: LR must be set once, at the top level"),
        ("del LR", "line 1: LR must be set once, at the top level"),
        ("def SEED():\n    pass", "line 1: SEED must be set once, at the top level"),
        ("match 1:\n    case LR:\n        pass", "line 1: LR must be set once, at the top level"),
        ("BATCH_SIZE = 128\nTRAIN_STEPS = 4000", "batch size 128 x length "),
        ("LR = ", "line 1: not Python: invalid syntax"),
        ("LR = 1e-3\x00", "not Python: "),
        ("(" * 3000 + ")" * 3000, "not Python: "),
        ("-" * 100_000 + "1", "not Python: "),
    ],
)
def test_refusals_say_where_what_and_what_is_expected(source: str, message: str) -> None:
    with pytest.raises(ConstantsError) as caught:
        read(source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_value_twice_is_no_contradiction() -> None:
    assert read("LR = 1e-3\nLEARNING_RATE = 0.001\nSEQ_LEN = MAX_LENGTH = 24").learning_rate == 1e-3
    assert read("SEQ_LEN = MAX_LENGTH = 24").seq_len == 24


def test_names_inside_functions_and_classes_are_their_own_business() -> None:
    source = "def f(LR=3):\n    BATCH_SIZE = 'x'\n\nclass A:\n    SEED = None\n\ng = lambda LR: LR\nLR = 1e-3\n"
    assert read(source).learning_rate == 1e-3


def test_reading_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "marker", [], raising=False)
    read("import builtins\nbuiltins.marker.append(1)\nLR = 1e-3\n")
    assert builtins.marker == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: f"{profile.name}-{profile.task}")
def test_every_profile_admits_its_own_defaults(profile: LraProfile) -> None:
    lines = [f"{constant.spellings[0]} = {getattr(profile.defaults, constant.field)!r}" for constant in CONSTANTS]
    assert read("\n".join(lines), profile) == profile.defaults
    assert profile.ranges.keys() == asdict(profile.defaults).keys()


def test_the_paper_profile_is_table_12() -> None:
    table = {
        "text": (1000, 1e-4, 16, 20000, 6, 8, 512, 512, 2048, 0.01, 500, 50, 0),
        "listops": (2000, 1e-4, 16, 5000, 4, 8, 512, 512, 1024, 0.01, 1000, 50, 0),
        "retrieval": (4000, 1e-4, 8, 5000, 4, 4, 128, 128, 512, 0.01, 8000, 50, 0),
    }
    assert {
        profile.task: tuple(asdict(profile.defaults).values())
        for profile in PROFILES.values()
        if profile.name == "paper"
    } == table
