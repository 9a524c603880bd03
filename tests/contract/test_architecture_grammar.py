"""The grammar of architectures and the one-row CSV."""

import sys
import time
from subprocess import run

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_contract.architectures import (
    LAYERS,
    MAX_SUBMISSION_BYTES,
    SYMBOLS,
    SubmissionError,
    canonical,
    compact,
    parse_architecture,
    parse_submission,
)

architectures = st.lists(st.sampled_from(SYMBOLS), min_size=LAYERS, max_size=LAYERS).map(tuple)


@given(architectures)
def test_every_spelling_reads_back(architecture: tuple[str, ...]) -> None:
    assert parse_architecture(canonical(architecture)) == architecture
    assert parse_architecture("-".join(architecture)) == architecture
    assert parse_architecture(compact(architecture)) == architecture
    assert parse_architecture(" ".join(compact(architecture))) == architecture


@given(architectures, st.sampled_from(("\n", "\r\n")), st.booleans(), st.booleans())
def test_every_csv_form_reads_back(architecture: tuple[str, ...], end: str, quoted: bool, last_end: bool) -> None:
    cell = f'"{canonical(architecture)}"' if quoted else canonical(architecture)
    text = f"architecture{end}{cell}{end if last_end else ''}"
    assert parse_submission(text.encode()) == architecture


@given(architectures)
def test_a_column_per_layer_reads_back(architecture: tuple[str, ...]) -> None:
    header = ",".join(f"layer_{index}" for index in range(1, LAYERS + 1))
    assert parse_submission(f"{header}\n{','.join(architecture)}\n".encode()) == architecture


near_misses = st.text(alphabet='AMSmb,- "\n\rlayer_1\xe9\x00', max_size=60)


@given(st.binary(max_size=200) | near_misses.map(lambda row: f"architecture\n{row}".encode()))
def test_any_bytes_give_an_architecture_or_one_printable_line(data: bytes) -> None:
    try:
        assert len(parse_submission(data)) == LAYERS
    except SubmissionError as error:
        message = str(error)
    else:
        return
    assert message.isprintable()
    assert message.isascii()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"AMAMAMAMAMAMAMAM\n", "line 1: header expected, found an architecture"),
        (b"AMAMAMAMAMAMAMAM\nAMAMAMAMAMAMAMAM\n", "line 1: header expected, found an architecture"),
        (b'"mA,M"\nAMAMAMAMAMAMAMAM\n', "line 1: header expected, found an architecture"),
        (b"architecture\n", "1 lines found, expected exactly 2"),
        (b"architecture\nAMAMAMAMAMAMAMAM\n\n", "3 lines found, expected exactly 2"),
        (b"architecture\nAMAM\n", "line 2: 4 layers found, expected exactly 16"),
        (b"architecture\nAMAMAMAMAMAMAMAX\n", "line 2: character 16: 'X' is not a compact letter"),
        (b"architecture\nmA,M,foo\n", "line 2: layer 3: unknown primitive 'foo'"),
        (b"architecture\nmA,M-mA\n", "line 2: layers are separated by ',' or by '-', not by both"),
        (b'architecture\n"AMAMAMAMAMAMAMAM\n', "line 2: unbalanced double quote"),
        (b"architecture\nAMAMAMAMAMAMAMAM\xff\n", "byte 30: 0xff is not ASCII"),
        (b"a b\nAMAMAMAMAMAMAMAM\n", "line 1: expected a header"),
        (b"architecture\nAMAMAMAM\tAMAMAMAM\n", "line 2: unprintable character"),
        (b"x" * (MAX_SUBMISSION_BYTES + 1), "the file has 4097 bytes, at most 4096"),
    ],
)
def test_the_message_says_what_and_where(data: bytes, message: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        parse_submission(data)
    assert str(caught.value).startswith(message)


def test_a_primitive_of_another_task_is_named() -> None:
    with pytest.raises(SubmissionError, match="layer 16: Mb is not among this task's primitives M, mA"):
        parse_architecture("AMAMAMAMAMAMAMAS", ("M", "mA"))


def test_hostile_input_of_the_largest_size_is_read_in_no_time() -> None:
    rows = (b"A " * 2040, b" " * 4080, b"mA," * 1360, b'"' * 4080, b"A" * 4080, b"-" * 4080, b"," * 4080)
    started_s = time.process_time()
    for row in rows:
        with pytest.raises(SubmissionError):
            parse_submission(b"architecture\n" + row)
    assert time.process_time() - started_s < 0.5


def test_the_grammar_imports_no_torch() -> None:
    code = "import sys, aira_contract.architectures; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
