"""Whatever a stranger says: an answer or the reader's own error, within bounds, however it is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal.egress import answers
from portal.egress.answers import NoAnswerError, Reader

# Words of the protocol, right and nearly right, so that what is made of them gets far.
_WORDS = [
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/1.1", b"200", b"202 OK", b"100 Continue", b"101 x", b"204 ", b"304 ", b"999",
    b" ", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\t", b":", b",", b";", b"\x00", b"\xff", b"Content-Length: ",
    b"content-length:", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:gzip", b"Connection: close\r\n",
    b"Content-Type: a/b; c=d\r\n", b"Retry-After: 5\r\n", b"Retry-After: Fri, 31 Dec 99999999999 23:59:59 GMT\r\n",
    b"0", b"1", b"5", b"a", b"ff", b"65536", b"65537", b"-1", b"0\r\n", b"0\r\n\r\n", b"1\r\na\r\n",
    b"5;x=y\r\nabcde\r\n", b"X: y\r\n", b"x" * 70_000, b" y",
]  # fmt: skip
_HEADS = [
    b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n",
]  # fmt: skip
RAW = st.builds(
    lambda head, words: head + b"".join(words),
    st.sampled_from(_HEADS),
    st.lists(st.sampled_from(_WORDS) | st.binary(max_size=20), max_size=14),
)


def read(raw: bytes, cuts: list[int]) -> tuple[object, ...]:
    """Return what a reader makes of `raw` in the pieces between `cuts`, then of the end of the line."""
    reader = Reader()
    edges = [0, *sorted({cut % (len(raw) + 1) for cut in cuts}), len(raw)]
    pieces = [raw[begin:end] for begin, end in pairwise(edges) if begin < end]
    try:
        for piece in [*pieces, b""]:
            if reader.feed(piece):
                break
        assert reader.done
        answer = reader.answer(7)
    except NoAnswerError as error:
        return type(error), error.private
    assert len(answer.body) <= answers.BODY_BYTES
    assert 200 <= answer.status <= 599
    return (answer.status, answer.content_type, answer.body, answer.retry_after is None)


@given(raw=RAW, cuts=st.lists(st.integers(0, 2**16), max_size=8))
@settings(max_examples=600, deadline=2000)
@example(raw=b"HTTP/1.1 200 OK\r\nA:" + b" " * 16_000 + b"\r\nContent-Length:" + b" " * 300 + b"\r\n\r\n", cuts=[])
@example(raw=b"HTTP/1.1 200 OK\r\n" + b"a" * 16_300, cuts=list(range(16_317)))
@example(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 70_000, cuts=[])
def test_any_bytes_are_an_answer_or_a_reason_and_the_same_in_any_pieces(raw: bytes, cuts: list[int]) -> None:
    whole = read(raw, [])
    cut = read(raw, cuts)
    # Which of two reasons is met first may depend on the pieces; whether there is one may not.
    assert (whole == cut) or (isinstance(whole[0], type) and isinstance(cut[0], type))


@given(
    body=st.binary(max_size=400),
    sizes=st.lists(st.integers(1, 60), max_size=30),
    cuts=st.lists(st.integers(0, 4000), max_size=8),
    surplus=st.binary(max_size=5),
)
@settings(max_examples=200)
def test_chunks_are_put_together_and_what_follows_is_left_alone(
    body: bytes, sizes: list[int], cuts: list[int], surplus: bytes
) -> None:
    chunks, left = b"", body
    for size in [*sizes, 400]:
        piece, left = left[:size], left[size:]
        chunks += b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    assert read(raw, cuts)[2] == body
    reader = Reader()
    assert reader.feed(raw + surplus)
    assert reader.keep == (not surplus)
    assert bytes(reader.body) == body


@given(text=st.text(max_size=60) | st.sampled_from(_WORDS).map(lambda word: word.decode("latin-1")))
@example("Fri, 31 Dec 9999 23:59:59 -9959")
@example("Fri, 31 Dec 0001 00:00:00 +9959")
@example("Mon, 01 Jan 99999999999 00:00:00 GMT")
@example("\u0661\u0662")
@example("9" * 5000)
def test_wish_for_later_is_time_or_nothing(text: str) -> None:
    wanted = answers.retry_after(text)
    assert wanted is None or wanted.total_seconds() >= 0


@pytest.mark.parametrize("length", [0, 1, 65_536])
def test_answer_that_is_done_stays_done(length: int) -> None:
    reader = Reader()
    keeps = []
    for piece in (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"a" * length, b"x"):
        assert reader.feed(piece)
        keeps.append(reader.keep)
    assert keeps == [True, False]
    assert len(reader.body) == length
