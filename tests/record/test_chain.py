"""Chains of signed lines: what is written is read, goes on after crashes, and holds against edits by anybody else."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.files import Unacceptable
from aira_bench.keys import MachineKey
from aira_bench.record import chain as chains
from aira_bench.record.chain import BrokenChain, Chain, ChainWriter, read_chain, require_signed

KEY, OTHER = MachineKey(b"1" * 32), MachineKey(b"2" * 32)
EMPTY = read_chain(b"")
STARTED = b'{"step":1,"event":"step_started"}'
bodies = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3).map(
    lambda value: json.dumps(value).encode("ascii")
)


def written(path: Path, lines: list[tuple[bytes, bool]], key: MachineKey | None = KEY) -> bytes:
    """Append lines, each signed or not, to what the file holds."""
    writer = ChainWriter(path, read_chain(path.read_bytes() if path.exists() else b""), key)
    for body, signed in lines:
        writer.append(body, signed=signed)
    writer.close()
    return path.read_bytes()


@given(st.lists(st.tuples(bodies, st.booleans()), max_size=6))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[bytes, bool]]) -> None:
    data = written(tmp_path_factory.mktemp("chain") / "c", lines)
    chain = read_chain(data)
    assert chain.bodies == tuple(body for body, _ in lines)
    assert (chain.version, chain.torn, chain.whole_bytes, len(chain.seals)) == (2, False, len(data), len(lines))
    signed = [number for number, (_, is_signed) in enumerate(lines, start=1) if is_signed]
    assert chain.vouched == max(signed, default=0)
    assert chain.signers == ((KEY.public,) if signed else ())
    assert chain.signer == (KEY.public if signed else None)


@given(st.lists(st.tuples(bodies, st.booleans()), min_size=1, max_size=4), st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_after_a_crash_at_any_byte_it_goes_on_as_if_there_had_been_none(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[bytes, bool]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("chain") / "c"
    data = written(path, lines)
    cut %= len(data) + 1
    path.write_bytes(data[:cut])
    found = read_chain(data[:cut])
    whole = data[:cut].count(b"\n")
    assert (len(found.bodies), found.torn) == (whole, cut != found.whole_bytes)
    assert written(path, lines[whole:]) == data


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_no_byte_of_a_line_that_is_vouched_for_can_be_changed(
    tmp_path_factory: pytest.TempPathFactory, at: int, other: int
) -> None:
    data = written(tmp_path_factory.mktemp("chain") / "c", [(b'{"a":1}', True), (STARTED, False), (b'{"b":2}', True)])
    at %= len(data) - 1  # the last line's end makes it torn, which readers of sealed chains see
    changed = bytearray(data)
    changed[at] ^= other
    try:
        found = read_chain(bytes(changed))
    except Unacceptable:
        return
    assert len(found.bodies) < 3 or found.bodies == read_chain(data).bodies, "a torn line, or nothing changed"
    assert found.torn


def test_who_signs_after_another_vouches_for_all_before(tmp_path: Path) -> None:
    path = tmp_path / "c"
    written(path, [(b'{"a":1}', True)])
    written(path, [(b'{"b":2}', True)], OTHER)
    assert read_chain(path.read_bytes()).signers == (KEY.public, OTHER.public)
    chain = read_chain(written(path, [(b'{"c":3}', True)]))
    assert chain.signers == (OTHER.public, KEY.public), "in the order of their last lines"
    assert chain.vouched == 3


def test_a_stranger_cannot_sign_for_somebody_else(tmp_path: Path) -> None:
    mine = written(tmp_path / "mine", [(b'{"a":1}', True)])
    theirs = written(tmp_path / "theirs", [(b'{"a":2}', True)], OTHER)
    start = mine.index(b'"signature":"') + len(b'"signature":"')
    signature = mine[start : start + 128]
    at = theirs.index(b'"signature":"') + len(b'"signature":"')
    forged = theirs[:at] + signature + theirs[at + 128 :]
    with pytest.raises(BrokenChain, match="its signature does not hold"):
        read_chain(forged)


def test_lines_without_a_key_are_of_the_first_version_and_stay_so(tmp_path: Path) -> None:
    path = tmp_path / "c"
    first = read_chain(written(path, [(b'{"a":1}', True)], None))
    assert (first.version, first.signers, first.signer) == (1, (), None)
    again = read_chain(written(path, [(b'{"b":2}', True)]))
    assert (again.version, again.signers, len(again.bodies)) == (1, (), 2)
    with pytest.raises(Unacceptable, match="version 1"):
        require_signed(again)


def test_only_marks_of_begun_steps_may_be_unsigned_at_the_end(tmp_path: Path) -> None:
    require_signed(EMPTY)
    require_signed(read_chain(written(tmp_path / "a", [(b'{"a":1}', True), (STARTED, False)])))
    with pytest.raises(Unacceptable, match="line 2 has no signature"):
        require_signed(read_chain(written(tmp_path / "b", [(b'{"a":1}', True), (b'{"b":2}', False), (STARTED, False)])))


def test_each_line_is_told_to_who_remembers(tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []
    writer = ChainWriter(tmp_path / "c", EMPTY, KEY, lambda lines, seal: told.append((lines, seal)))
    for body in (b'{"a":1}', STARTED):
        writer.append(body, signed=body != STARTED)
    writer.close()
    chain = read_chain((tmp_path / "c").read_bytes())
    assert told == list(enumerate(chain.seals, start=1))
    assert chain.seal == told[-1][1]


@pytest.mark.parametrize(
    "data",
    [b"\n", b"{}\n", b'{"chain":"0"}\n', b'{"chain":"' + b"0" * 64 + b'","body":{}}\n', b"\xff\xfe\n", b" \n" * 3],
)
def test_what_is_no_chain_names_its_first_line(data: bytes) -> None:
    with pytest.raises(BrokenChain, match=r"line 1 was changed or damaged"):
        read_chain(data)


def test_a_chain_that_costs_too_much_to_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    for number in range(4):
        written(path, [(b'{"a":1}', True)], MachineKey(bytes([number]) * 32))
    monkeypatch.setattr(chains, "MOST_SIGNERS", 3)
    with pytest.raises(Unacceptable, match="more than 3 keys signed it"):
        read_chain(path.read_bytes())
    monkeypatch.setattr(chains, "MOST_LINE_BYTES", 100)
    with pytest.raises(BrokenChain, match=r"line 1 .*more than 100 bytes"):
        read_chain(path.read_bytes())


def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "c").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        ChainWriter(tmp_path / "c", EMPTY, KEY)
    assert not (tmp_path / "victim").exists()


def test_an_empty_file_has_a_seal_of_its_own_version() -> None:
    assert Chain(2, (), (), 0, False, (), 0) == EMPTY
    assert set(EMPTY.seal) == {"0"}
