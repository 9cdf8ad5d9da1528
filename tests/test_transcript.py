"""Transcripts: Merlin's vectors, and that every bit of the past changes every later challenge."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp import _core
from privcomp.algebra import BN254, RISTRETTO255
from privcomp.errors import BufferTypeError, ParameterError, StateError
from privcomp.transcript import Script, Step, Transcript
from tests.reference.strobe import Merlin


def test_merlin(vectors: Path) -> None:
    simple, long = json.loads((vectors / "merlin" / "merlin_v1_kats.json").read_text())
    transcript = Transcript(simple["label"])
    transcript.append("some label", b"some data")
    assert transcript.challenge_bytes("challenge", 32).hex() == simple["out"]
    transcript = Transcript(long["label"])
    transcript.append("step1", b"some data")
    for _ in range(32):
        challenge = transcript.challenge_bytes("challenge", 32)
        transcript.append("bigdata", b"\x63" * 1024)
        transcript.append("challengedata", challenge)
    assert challenge.hex() == long["out"]


label = st.text(st.characters(codec="ascii"), min_size=1, max_size=200)
steps = st.lists(
    st.one_of(st.tuples(label, st.binary(max_size=400)), st.tuples(label, st.integers(0, 400))), max_size=12
)


@given(name=label, steps=steps)
@settings(max_examples=60, deadline=None)
def test_the_twin_agrees(name: str, steps: list[tuple[str, bytes | int]]) -> None:
    ours, theirs = Transcript(name), Merlin(name.encode())
    for label, step in steps:
        if isinstance(step, bytes):
            ours.append(label, step)
            theirs.append(label.encode(), step)
        else:
            assert ours.challenge_bytes(label, step) == theirs.challenge(label.encode(), step)
    assert ours.challenge_bytes("end", 64) == theirs.challenge(b"end", 64)


CHANGES: dict[str, Callable[[Transcript], None]] = {
    "nothing": lambda t: (t.append("a", b"one"), t.append("b", b"two")),
    "another message": lambda t: (t.append("a", b"onf"), t.append("b", b"two")),
    "another label": lambda t: (t.append("c", b"one"), t.append("b", b"two")),
    "another order": lambda t: (t.append("b", b"two"), t.append("a", b"one")),
    "one message less": lambda t: t.append("a", b"one"),
    "a border moved": lambda t: (t.append("a", b"on"), t.append("b", b"etwo")),
    "a label that reaches into its message": lambda t: (t.append("ao", b"ne"), t.append("b", b"two")),
    "an empty message more": lambda t: (t.append("a", b"one"), t.append("b", b"two"), t.append("x", b"")),
    "a challenge more": lambda t: (t.append("a", b"one"), t.append("b", b"two"), t.challenge_bytes("c", 1)),
    "an empty challenge more": lambda t: (t.append("a", b"one"), t.append("b", b"two"), t.challenge_bytes("c", 0)),
    "a message in a challenge's place": lambda t: (t.append("a", b"one"), t.challenge_bytes("b", 3)),
}


def test_every_change_changes_the_challenge() -> None:
    found = {}
    for name, change in CHANGES.items():
        transcript = Transcript("protocol")
        change(transcript)
        found[name] = transcript.challenge_bytes("end", 32)
    found["another protocol"] = Transcript("protocol2").challenge_bytes("end", 32)
    assert len(set(found.values())) == len(found)


def test_every_bit_of_the_past_counts() -> None:
    def end(data: bytes) -> bytes:
        transcript = Transcript("protocol")
        transcript.append("m", data)
        transcript.append("n", bytes(300))
        return transcript.challenge_bytes("end", 32)

    data = bytes(170)
    found = {end(data)}
    for bit in range(0, 8 * len(data), 7):
        found.add(end(bytes(b ^ (1 << bit % 8) * (k == bit // 8) for k, b in enumerate(data))))
    assert len(found) == 1 + len(range(0, 8 * len(data), 7))


def test_what_it_takes() -> None:
    one, two = Transcript("protocol"), Transcript("protocol")
    point, scalars = RISTRETTO255.generator, RISTRETTO255.scalars([1, 2])
    one.append_points("p", point)
    one.append_scalars("s", scalars)
    one.append_int("i", -5)
    two.append("p", point.encode())
    two.append("s", scalars.to_bytes())
    two.append("i", (-5).to_bytes(8, "little", signed=True))
    fork = one.copy()
    assert one.challenge_scalar("c", RISTRETTO255) == two.challenge_scalar("c", RISTRETTO255)
    assert fork.challenge_scalar("c", BN254).group is BN254
    assert one.challenge_scalars("c", RISTRETTO255, 3) == two.challenge_scalars("c", RISTRETTO255, 3)
    assert fork.challenge_bytes("d", 32) != one.challenge_bytes("d", 32)


def test_messages_one_after_another() -> None:
    """Each under the label and its number: as if they were appended one by one, whatever the hash."""
    data = bytes(k % 251 for k in range(3 * 1101))
    for make in (Transcript, lambda name: Transcript.over(Merlin(name.encode()))):
        for length, count in ((3, 1101), (1, 11), (300, 11), (3303, 1), (7, 0)):
            one, two = make("protocol"), make("protocol")
            one.append_each("row", data[: length * count], length)
            for k in range(count):
                two.append(f"row{k}", data[length * k : length * (k + 1)])
            assert one.challenge_bytes("c", 32) == two.challenge_bytes("c", 32), (length, count)
        for length in (2, 4000, 0, -1, 3.0, "3", None, 1 << 32, 1 << 70):
            with pytest.raises(ParameterError, match="number of messages" if length in (2, 4000) else "length is"):
                make("protocol").append_each("row", data, length)
        one, two = make("protocol"), make("protocol")
        one.append_each("row", data[:8], 4)
        two.append_each("row", memoryview(data[:8]).cast("H"), np.uint8(4))
        assert one.challenge_bytes("c", 32) == two.challenge_bytes("c", 32)
        for bad in ("text", None, [1, 2, 3], memoryview(data)[::2]):
            with pytest.raises(BufferTypeError):
                make("protocol").append_each("row", bad, 1)
        with pytest.raises(ParameterError, match="ASCII"):
            make("protocol").append_each("", data, 3)


def test_a_script() -> None:
    """As if its steps were said one by one, whatever the hash, and what comes after goes on from there."""
    draw = random.Random(7)
    for make in (Transcript, lambda name: Transcript.over(Merlin(name.encode()))):
        for count in (0, 1, 2, 40):
            said = [
                Step("x" * draw.randint(1, 40), draw.choice((0, 1, 32, 165, 166, 167, 700)), draw.random() < 0.5)
                for _ in range(count)
            ]
            script, one, two = Script(iter(said)), make("protocol"), make("protocol")
            data = draw.randbytes(script.message_bytes)
            found, want, at = one.replay(script, data), b"", 0
            for label, length, challenge in said:
                if challenge:
                    want += two.challenge_bytes(label, length)
                else:
                    two.append(label, data[at : at + length])
                    at += length
            assert at == script.message_bytes == sum(step.length for step in said if not step.challenge)
            assert found == want
            assert len(want) == script.challenge_bytes
            assert one.challenge_bytes("c", 32) == two.challenge_bytes("c", 32)
            assert make("protocol").replay(script, memoryview(data)) == want
            for bad in (data + b"1", data[1:] if data else b"12"):
                with pytest.raises(ParameterError, match=f"{len(bad)} bytes of messages"):
                    one.replay(script, bad)
            with pytest.raises(BufferTypeError):
                one.replay(script, None)


def test_a_script_of_numpy_integers() -> None:
    """Small integers of NumPy add up to more than they hold."""
    script = Script([Step("a", np.uint8(250)), Step("b", np.uint8(250), 0), Step("c", np.uint8(3), 2)])
    assert script == Script([Step("a", 250), Step("b", 250), Step("c", 3, True)])
    data = random.Random(1).randbytes(500)
    want = Transcript("protocol")
    want.append("a", data[:250])
    want.append("b", data[250:])
    challenge = want.challenge_bytes("c", 3)
    for transcript in (Transcript("protocol"), Transcript.over(Merlin(b"protocol"))):
        assert transcript.replay(script, data) == challenge


def test_scripts_that_are_none() -> None:
    for label in ("", "naïve", b"bytes", None):
        with pytest.raises(ParameterError, match="ASCII"):
            Script([Step(label, 1)])
    for length in (-1, 1 << 32, 1.0, None):
        with pytest.raises(ParameterError, match="length is"):
            Script([Step("label", length)])
    for bad in (None, 3, "label", [("label", 1)], [None]):
        with pytest.raises(ParameterError, match="is no step"):
            Script(bad)
    for bad in (None, [Step("label", 0)]):
        with pytest.raises(ParameterError, match="no script"):
            Transcript("protocol").replay(bad, b"")
    with pytest.raises(AttributeError):
        Script([]).steps = ()


def test_the_core_refuses_steps_that_do_not_fit() -> None:
    """Nothing is read or written beyond the buffers, and nothing is absorbed."""
    state, want = _core.MerlinState(b"protocol"), _core.MerlinState(b"protocol")
    labels, messages = np.frombuffer(b"abcd", np.uint8), np.zeros(10, np.uint8)
    good = [(1, 4, 0), (2, 6, 0), (1, 8, 1)]
    most = (1 << 32) - 1
    wrong = [
        [*good[:2], (2, 8, 1)],
        [*good[:2], (0, 8, 1)],
        [*good[:2], (1, 9, 1)],
        [*good[:2], (1, 7, 1)],
        [(1, 4, 0), (2, 5, 0), (1, 8, 1)],
        [(1, 4, 0), (2, 7, 0), (1, 8, 1)],
        [(1, 4, 0), (2, most, 0), (1, 8, 1)],
        [(1, most, 1), *good[1:]],
        [(most, 4, 0), *good[1:]],
        good[:2],
        [*good, (0, 1, 0)],
        [*good, (0, 1, 1)],
        [*good, (1, 0, 1)],
        [],
    ]
    for steps in wrong:
        with pytest.raises(ParameterError, match="other lengths"):
            state.replay(labels, np.array(steps, np.uint32).reshape(-1, 3), messages, 8)
    want.append(b"a", bytes(4))
    want.append(b"bc", bytes(6))
    found = state.replay(labels, np.array(good, np.uint32), messages, 8)
    assert found == want.challenge(b"d", 8)
    assert state.challenge(b"c", 32) == want.challenge(b"c", 32)


def test_misuse() -> None:
    transcript = Transcript("protocol")
    for bad in ("", "naïve", b"bytes", None):
        with pytest.raises(ParameterError, match="ASCII"):
            Transcript(bad)
        with pytest.raises(ParameterError, match="ASCII"):
            transcript.append(bad, b"")
        with pytest.raises(ParameterError, match="ASCII"):
            transcript.challenge_bytes(bad, 1)
    with pytest.raises(BufferTypeError):
        transcript.append("a", "text")
    with pytest.raises(BufferTypeError, match="gaps"):
        transcript.append("a", memoryview(b"abcd")[::2])
    with pytest.raises(ParameterError, match="64 bits"):
        transcript.append_int("a", 1 << 63)
    with pytest.raises(ParameterError, match="-1 bytes"):
        transcript.challenge_bytes("a", -1)


def test_another_hash() -> None:
    """A protocol whose bytes are fixed elsewhere brings its own, which says what the protocol is."""
    other = Transcript.over(Merlin(b"name"))
    assert other.copy().challenge_bytes("c", 32) == Transcript("name").challenge_bytes("c", 32)


def test_nobody_enters_beside_another_thread() -> None:
    transcript = Transcript("protocol")
    calls = [
        lambda: transcript.append("m", b"1"),
        lambda: transcript.append_each("m", b"12", 1),
        lambda: transcript.challenge_bytes("c", 1),
        lambda: transcript.replay(Script([Step("m", 1), Step("c", 1, True)]), b"1"),
        transcript.copy,
    ]
    with transcript._state._lock:
        for call in calls:
            with pytest.raises(StateError, match="two threads"):
                call()
    for call in calls:
        call()


def test_two_threads_in_one_transcript() -> None:
    """One of them is refused, or they take turns, and what was absorbed is what they took turns to say."""
    transcript, refused = Transcript("protocol"), []
    message = bytes(1 << 16)

    def work() -> None:
        for _ in range(200):
            try:
                transcript.append("m", message)
            except StateError:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = Transcript("protocol")
    for _ in range(3 * 200 - len(refused)):
        alone.append("m", message)
    assert transcript.challenge_bytes("c", 32) == alone.challenge_bytes("c", 32)
