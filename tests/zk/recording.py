"""Which challenges depend on what: the transcript of a check, with one part of statement or proof changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from privcomp import _core
from privcomp.errors import RemoteError
from privcomp.transcript import Transcript


class Recorder:
    """Merlin, with its challenges written down."""

    def __init__(self, label: bytes, challenges: list[tuple[str, bytes]]) -> None:
        self._merlin, self.challenges = _core.MerlinState(label), challenges

    def append(self, label: bytes, message: bytes) -> None:
        self._merlin.append(label, message)

    def challenge(self, label: bytes, length: int) -> bytes:
        found = self._merlin.challenge(label, length)
        self.challenges.append((label.decode(), found))
        return found

    def copy(self) -> Recorder:
        other = Recorder.__new__(Recorder)
        other._merlin, other.challenges = self._merlin.copy(), self.challenges
        return other


def challenges(check: Callable[[Transcript], None]) -> list[tuple[str, bytes]]:
    """All challenges of a check, whether it accepts or not, and one at the end."""
    found: list[tuple[str, bytes]] = []
    transcript = Transcript.over(Recorder(b"test", found))
    with suppress(RemoteError):
        check(transcript)
    transcript.challenge_bytes("end", 32)
    return found


def first_changed(one: Callable[[Transcript], None], two: Callable[[Transcript], None]) -> str:
    """The label of the first challenge that differs; all after it have to differ as well."""
    before, after = challenges(one), challenges(two)
    assert [label for label, _ in before] == [label for label, _ in after]
    same = [a == b for a, b in zip(before, after, strict=True)]
    k = same.index(False)
    assert not any(same[k:])
    return before[k][0]
