import hashlib
import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from aira_bench.sandbox.streams import FrameDecoder, OutputRecorder

frames = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=200)), max_size=20)


def encode(pairs: list[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack(">BxxxI", stream, len(payload)) + payload for stream, payload in pairs)


def cut(data: bytes, marks: list[int]) -> list[bytes]:
    edges = [0, *sorted(mark % (len(data) + 1) for mark in marks), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(pairs=frames, marks=st.lists(st.integers(min_value=0), max_size=40))
def test_streams_come_apart_wherever_the_transport_cuts(pairs: list[tuple[int, bytes]], marks: list[int]) -> None:
    decoder = FrameDecoder()
    seen = {1: b"", 2: b""}
    for chunk in cut(encode(pairs), marks):
        for stream, piece in decoder.feed(chunk):
            seen[stream] += piece
    for stream in seen:
        assert seen[stream] == b"".join(payload for number, payload in pairs if number == stream)


def test_a_huge_frame_is_passed_on_as_it_arrives() -> None:
    decoder = FrameDecoder()
    assert list(decoder.feed(struct.pack(">BxxxI", 1, 2**32 - 1))) == []
    assert list(decoder.feed(b"abc")) == [(1, b"abc")]


@given(chunks=st.lists(st.binary(max_size=60), max_size=40), kept=st.integers(min_value=1, max_value=64))
def test_head_and_tail_are_the_ends_of_the_stream(chunks: list[bytes], kept: int) -> None:
    recorder = OutputRecorder(kept)
    for chunk in chunks:
        recorder.write(chunk)
    everything, output = b"".join(chunks), recorder.captured()
    assert output.total_bytes == len(everything)
    assert output.sha256 == hashlib.sha256(everything).hexdigest()
    assert output.head == everything[:kept]
    rest = everything[kept:]
    assert output.tail == rest[-kept:]
