"""Replicated sharing among four parties, one of whom may send whatever it likes.

x = x_0 + x_1 + x_2 + x_3 modulo 2^64 (or XOR, for bits); party i holds every component but x_i. Indices count modulo 4.
Key k_j is known to all but party j; who draws from it draws in the same order.

* A joint input: parties s and w know z, r and q are the others. Component r becomes F(k_r), which s, w, q draw; q's
  becomes z - F(k_r), which s sends to r. w has the same message, and it and r each take it into a running hash, under a
  key that s lacks. Who receives lacks the mask, so that every message is uniform to its receiver.
* A product: x y is a sum over the six pairs {i, j} of terms that the other two parties know: x_i y_j + x_j y_i, with
  x_i y_i added to one of them. Six joint inputs, six words among four parties; a dot product adds up before it is sent.
* An opening: party i receives x_i from one of the three, and hashes of it from the other two.
* Addends: u = x_0 + x_1 is known to parties 2 and 3, t = x_2 + x_3 to parties 0 and 1; both are joint inputs.

A message that is not what its two senders know makes the running hashes of two honest parties differ. Before anything
is opened they are compared, in a way that shows nothing but whether all agree: see `Rep4._check`. The hashes themselves
must not be sent around: see docs/mpc-rep4.md, which has the protocol in full and the argument.

Security: malicious, one of four, with abort; private and authentic channels; AES-128 and HMAC-SHA-256 are pseudo-random
functions, SHA-256 is a random oracle.

Sources: Dalskov, Escudero, Keller, "Fantastic Four: Honest-Majority Four-Party Secure Computation With Malicious
Security", USENIX Security 2021, for sharing, joint inputs and products. The check before openings, the products of sums
in `matmul`, truncation, bits to numbers and extension are derived where they stand.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privcomp import _core
from privcomp.codec import digest, lp
from privcomp.errors import CodecError, ParameterError, RemoteError, StateError
from privcomp.keys import hkdf
from privcomp.mpc.backend import Bits, Change, ReplicatedBackend, Value, as_words, words
from privcomp.mpc.blocks import Sums, monomials, plan
from privcomp.mpc.circuits import carry
from privcomp.mpc.engine import Exchange, Scheduler, Section, Session, Task
from privcomp.mpc.packing import narrow, narrow_bytes, widen
from privcomp.mpc.security import Adversary, Guarantee, Security
from privcomp.mpc.streams import KEY_BYTES, Stream, add_at, xor_at
from privcomp.typing import U64Array

__all__ = ["Rep4"]

_ONE: Final = np.uint64(1)
_OFFSET: Final = np.uint64(1 << 62)
_HASH: Final = 32
_SHORT: Final = 16
_BLOCK: Final = 1 << 17  # words: what one joint input touches at a time
_PIECE: Final = 8 * _BLOCK  # bytes hashed at a time
_LOG: Final = 1 << 12  # joint steps after which a check starts even though nothing is opened
_KEY: Final = "privcomp/mpc/rep4/key/v1"
_TAG: Final = "privcomp/mpc/rep4/tag/v2"
_COMMIT: Final = "privcomp/mpc/rep4/commit/v1"
_HASHER: Final = "privcomp/mpc/rep4/hash/v1"


class Link(NamedTuple):
    """Who sends what two parties know, who vouches for it, and who receives it."""

    sender: int
    witness: int
    receiver: int

    @property
    def rest(self) -> int:
        """The fourth party; its component is the one that the message becomes."""
        return 6 - self.sender - self.witness - self.receiver


# The four pairs {i, i + 1}, with the term x_i y_i, then the two others.
_CYCLE: Final = tuple(Link((i + 2) % 4, (i + 3) % 4, i) for i in range(4))
_DIAGONAL: Final = (Link(1, 3, 2), Link(0, 2, 3))
_PAIRS: Final = _CYCLE + _DIAGONAL
# What parties 2 and 3 know, and what parties 0 and 1 know, which become components 0, 1 and 2, 3.
_U: Final = Link(2, 3, 0)
_T: Final = Link(0, 1, 2)
# The pairs of a component of u and one of t.
_ACROSS: Final = (Link(1, 3, 2), Link(0, 2, 3), Link(3, 0, 1), Link(2, 1, 0))

Fill = Callable[[Link, int, int, U64Array], None]
"""Writes words lo .. hi of what a link's sender and witness know."""


class _Log:
    """What two parties hold alike of a third one's messages: a hash over all, after each step at which one came."""

    __slots__ = ("before", "prefix", "steps")

    def __init__(self) -> None:
        self.before = bytes(_HASH)
        self.prefix = bytes(_HASH)
        self.steps: list[tuple[int, bytes]] = []

    def add(self, step: int, item: bytes) -> None:
        self.prefix = hashlib.sha256(self.prefix + item).digest()
        self.steps.append((step, self.prefix))


class _Hash:
    """A hash of one message under a key that whoever chose the message lacks: GMAC.

    Another message has another hash, but for 2^-100, if it was chosen without the key: two pieces of b blocks have one
    hash under at most b + 1 of 2^128 keys, and b is at most 2^16.

    Args:
        hasher: has the key.
        kind: of the message, 0 or 1.
        parties: three at most; with `kind` and `call`, never twice the same under one key.
        call: counts.
    """

    __slots__ = ("_hasher", "_index", "_nonce", "value")

    def __init__(self, hasher: AESGCM, kind: int, parties: Sequence[int], call: int) -> None:
        code = functools.reduce(lambda code, party: 4 * code + party, parties, kind + 1)
        self._hasher = hasher
        self._nonce = bytes([code]) + call.to_bytes(7, "little")
        self._index = 0
        self.value = bytes(_SHORT)

    def add(self, data: Section | memoryview) -> _Hash:
        """More of the message: whole pieces, but for the last one."""
        view = memoryview(data) if isinstance(data, bytes | memoryview) else data.reshape(-1).view(np.uint8).data
        for low in range(0, len(view), _PIECE):
            tag = self._hasher.encrypt(self._nonce + self._index.to_bytes(4, "little"), b"", view[low : low + _PIECE])
            self.value = hashlib.sha256(self.value + tag).digest()[:_SHORT]
            self._index += 1
        return self


Cut = dict[tuple[int, int], tuple[bytes, list[tuple[int, bytes]]]]
"""What a check is about: of every log the hash at its beginning, and the hashes since then with their steps."""


def _array(section: memoryview, shape: tuple[int, ...]) -> U64Array:
    return np.frombuffer(section, np.uint64).reshape(shape)


def _xor(several: Iterable[bytes]) -> bytes:
    total = 0
    for one in several:
        total ^= int.from_bytes(one, "little")
    return total.to_bytes(_HASH, "little")


class Rep4(ReplicatedBackend):
    """One party of four. See the module for the protocol.

    Attributes:
        held: the components that this party has, in the order of every `parts`: all but its own index, ascending.
    """

    security = Security(
        Adversary.MALICIOUS,
        4,
        1,
        Guarantee.ABORT,
        (
            "private, authentic channels between each two parties",
            "AES-128 and HMAC-SHA-256 are pseudo-random functions",
            "SHA-256 is a random oracle",
        ),
    )

    def __init__(self, scheduler: Scheduler, session: Session, me: int) -> None:
        super().__init__(scheduler, session, me)
        if self.n != 4:
            raise ParameterError(f"rep4 runs among 4 parties; the session names {self.n}")
        self.held = tuple(component for component in range(4) if component != me)
        self._peers = self.held
        self._streams: dict[int, Stream] = {}
        self._tag_keys: dict[int, bytearray] = {}
        self._hashers: dict[int, AESGCM] = {}
        # By the party that sends and the one that holds the same messages as this one.
        self._logs = {(s, partner): _Log() for s in self._peers for partner in self._peers if partner != s}
        self._step = 0
        self._checked = 0
        self._calls = 0
        self._task: Task[None] | None = None

    # ---- keys ----

    async def setup(self, rng: Callable[[int], bytes]) -> None:
        self.scheduler.spawn(self._at_end(self._wipe))
        # Party p draws k_{p-1} for p + 1 and p + 2, who compare what they got before anybody uses it.
        first, second, third = ((self.me + step) % 4 for step in (1, 2, 3))
        key = rng(KEY_BYTES)
        got = await Exchange("setup", {first: key, second: key}, {third: KEY_BYTES, second: KEY_BYTES})
        keys = {third: key, second: bytes(got[third]), first: bytes(got[second])}
        # k_{p+2} came from p - 1, to p + 1 as well; k_{p+1} came from p + 2, to p - 1 as well.
        views = {first: self._key_view(second, keys[second]), third: self._key_view(first, keys[first])}
        seen = await Exchange("setup-compare", dict(views), {first: _HASH, third: _HASH})
        for partner, dealer in ((first, third), (third, second)):
            same = hmac.compare_digest(seen[partner], views[partner])
            self._require(same, {partner, dealer}, "setup", "the dealer of a key gave two parties different ones")
        for component, secret in keys.items():
            context = (self.session.digest, bytes([component]))
            self._streams[component] = Stream(secret, *context)
            self._hashers[component] = AESGCM(hkdf(secret, *context, length=16, label=_HASHER))
        for partner in self._peers:
            # Neither the sender of a log that two keep nor the fourth party has both of these keys.
            one, other = (component for component in self.held if component != partner)
            context = (self.session.digest, bytes([one, other]))
            key = hkdf(keys[one] + keys[other], *context, length=_HASH, label=_TAG)
            self._tag_keys[partner] = bytearray(key)

    def _key_view(self, component: int, key: bytes) -> bytes:
        return digest(_KEY, self.session.digest, bytes([component]), key)

    def _wipe(self) -> None:
        for stream in self._streams.values():
            stream.wipe()
        for key in self._tag_keys.values():
            key[:] = bytes(len(key))
        self._streams.clear()
        self._tag_keys.clear()
        self._hashers.clear()

    def _refuse(self, suspects: set[int], stage: str, message: str) -> RemoteError:
        """The error to raise; the keys are gone. Among `suspects` is the party that lied: all that is known of it."""
        self._wipe()
        names = [self.session.parties[party] for party in sorted(suspects - {self.me})]
        if len(names) == 1:
            return RemoteError(names[0], stage, f"{message}; begin a new session without it")
        said = " or ".join(repr(name) for name in names) if names else "nobody can be named"
        return RemoteError(None, stage, f"{message}; who lied: {said}; the keys are gone, begin a new session")

    def _require(self, holds: bool, suspects: set[int], stage: str, message: str) -> None:
        if not holds:
            raise self._refuse(suspects, stage, message)

    # ---- the check ----

    def _tag(self, sender: int, partner: int, step: int, prefix: bytes) -> bytes:
        """One log after one step, under the key that those two alone have who keep it: alike at both."""
        low, high = sorted((self.me, partner))
        return hmac.digest(
            self._tag_keys[partner], lp(bytes([sender, low, high]), step.to_bytes(8, "little"), prefix), "sha256"
        )

    def _tags(self, steps: Sequence[int], cut: Cut) -> list[list[bytes]]:
        """For each step (ascending) the tags of all six logs as they stood after it."""
        rows: list[list[bytes]] = [[] for _ in steps]
        for (sender, partner), (prefix, log) in sorted(cut.items()):
            at = 0
            for row, step in zip(rows, steps, strict=True):
                while at < len(log) and log[at][0] <= step:
                    prefix = log[at][1]
                    at += 1
                row.append(self._tag(sender, partner, step, prefix))
        return rows

    async def _agree(self, name: str, mine: bytes) -> dict[int, bytes]:
        """Everybody's value, chosen before anybody's was seen, the same one told to all.

        Every party commits, then opens and repeats the commitments that it saw.
        """

        def commit(party: int, value: bytes) -> bytes:
            return digest(_COMMIT, self.session.digest, name.encode(), bytes([party]), value)

        sealed = commit(self.me, mine)
        got = await Exchange(f"{name} commit", dict.fromkeys(self._peers, sealed), dict.fromkeys(self._peers, _HASH))
        commitments = {self.me: sealed, **{peer: bytes(got[peer]) for peer in self._peers}}
        echo = b"".join(commitments[party] for party in range(4))
        size = len(mine) + len(echo)
        got = await Exchange(f"{name} open", dict.fromkeys(self._peers, mine + echo), dict.fromkeys(self._peers, size))
        values = {self.me: mine}
        for peer in self._peers:
            value, repeated = bytes(got[peer][: len(mine)]), bytes(got[peer][len(mine) :])
            same = commit(peer, value) == commitments[peer]
            self._require(same, {peer}, name, "a commitment opened to something else")
            for party in range(4):
                same = repeated[_HASH * party : _HASH * (party + 1)] == commitments[party]
                self._require(same, {peer, party}, name, "two parties say different things about a commitment")
            values[peer] = value
        return values

    async def _check(self, before: Task[None] | None, steps: list[int], cut: Cut) -> None:
        """Whether every message so far was what its two senders know; raises if not.

        Each pair of parties has one log per third party, tagged under a key that only these two have. Every party XORs
        its six tags, and the four sums XOR to zero if all logs agree. A liar does not know the tags of the logs that
        two others keep of its messages, so that it cannot make up for a difference between them; and these tags mask
        every honest party's sum from it, so that a difference shows nothing but itself. Sums are committed to first:
        who speaks last cannot choose.
        """
        if before is not None:
            await before
        last = steps[-1]
        sums = await self._agree(f"check {last}", _xor(self._tags([last], cut)[0]))
        if any(_xor(sums.values())):
            await self._trace(steps, cut, sums)

    async def _trace(self, steps: list[int], cut: Cut, sums: dict[int, bytes]) -> None:
        """Find the first step at which logs differ, and whose; raises in any case.

        Up to that step every honest party has the right values, so that those who keep a log may see each other's tags
        of it. To everybody else tags are noise: a log is a hash of messages, some of which went past the liar and are
        the component that it lacks, so that under a key that it has it would test guesses of an input.
        """
        stage = f"trace {steps[-1]}"
        rows = self._tags(steps, cut)
        lists = await self._agree(stage, b"".join(_xor(row) for row in rows))
        for party, said in lists.items():
            self._require(said[-_HASH:] == sums[party], {party}, stage, "its last sum of tags is not that of the check")
        bad = next(
            at for at in range(len(steps)) if any(_xor(said[_HASH * at : _HASH * (at + 1)] for said in lists.values()))
        )
        tags = await self._agree(f"{stage} step {steps[bad]}", b"".join(rows[bad]))
        seen: dict[tuple[int, int, int], bytes] = {}
        suspects = set(range(4))
        for party, said in tags.items():
            parts = [said[at : at + _HASH] for at in range(0, len(said), _HASH)]
            same = _xor(parts) == lists[party][_HASH * bad : _HASH * (bad + 1)]
            self._require(same, {party}, stage, "its tags do not add up to the sum that it gave")
            others = [(s, partner) for s in range(4) for partner in range(4) if len({s, partner, party}) == 3]
            for (sender, partner), part in zip(others, parts, strict=True):
                place = (sender, min(party, partner), max(party, partner))
                if seen.setdefault(place, part) != part:
                    suspects &= set(place)
        raise self._refuse(suspects, stage, f"a message of joint step {steps[bad]} is not what its two senders know")

    def _start_check(self) -> None:
        """Take what has been logged to a check of its own. All parties do so at the same step."""
        cut: Cut = {}
        for place, log in self._logs.items():
            cut[place] = (log.before, log.steps)
            log.before, log.steps = log.prefix, []
        steps = list(range(self._checked + 1, self._step + 1))
        self._checked = self._step
        self._task = self.scheduler.spawn(self._check(self._task, steps, cut))

    async def _verified(self) -> None:
        """Return once everything up to now has been checked."""
        if self._checked != self._step:
            self._start_check()
        if self._task is not None:
            await self._task

    # ---- joint inputs ----

    def _call(self) -> int:
        """Numbers what is begun, alike at all parties; raises StateError where the keys are gone."""
        if not self._streams:
            raise StateError("there are no keys: setup comes before anything else, and nothing after a refusal")
        self._calls += 1
        return self._calls

    def _step_ends(self) -> None:
        if self._step - self._checked >= _LOG:
            self._start_check()

    def _by_component(self, parts: Sequence[U64Array]) -> dict[int, U64Array]:
        return dict(zip(self.held, parts, strict=True))

    async def _joint(
        self,
        label: str,
        links: Sequence[Link],
        messages: Sequence[U64Array | None],
        n: int,
        *,
        groups: Sequence[int] | None = None,
        width: int = 64,
        bits: bool = False,
        fill: Fill | None = None,
    ) -> list[tuple[U64Array, ...]]:
        """Share what each link's sender and witness know; sharings of the same group are added up.

        Args:
            label: of the exchange.
            links: no sender and receiver twice.
            messages: u64 (n,) of each link at its sender and witness, overwritten; None with `fill`, and elsewhere.
            groups: of each link, counted from 0; all in one where it is left out.
            width: the sharings are right modulo 2^width; parts that are messages are below it.
            bits: XOR in place of addition.
            fill: writes the messages, a block at a time; `width` is 64.

        Returns:
            of each group the parts, u64 (n,).
        """
        groups = [0] * len(links) if groups is None else groups
        sums = [{c: np.zeros(n, np.uint64) for c in self.held} for _ in range(max(groups) + 1)]
        call = self._call()
        hashes = [_Hash(self._hashers[link.sender], 0, link, call) if self.me in link[1:] else None for link in links]
        if fill is not None:
            # What is sent has to stay; what is only hashed is forgotten block by block.
            scratch = np.empty(min(n, _BLOCK), np.uint64)
            messages = [np.empty(n, np.uint64) if self.me == link.sender else None for link in links]
        streams = [None if self.me == link.receiver else self._streams[link.receiver] for link in links]
        starts = [0 if stream is None else stream.take(n) for stream in streams]
        mask = np.uint64((1 << width) - 1)
        for low in range(0, n, _BLOCK):
            high = min(n, low + _BLOCK)
            for link, message, group, stream, start, hashed in zip(
                links, messages, groups, streams, starts, hashes, strict=True
            ):
                if stream is None:
                    continue
                masked, at = sums[group][link.receiver][low:high], start + low
                if bits:
                    xor_at(masked, stream, at)
                else:
                    add_at(masked, stream, at)
                if self.me == link.rest:
                    continue
                block = scratch[: high - low] if message is None else message[low:high]
                if fill is not None:
                    fill(link, low, high, block)
                rest = sums[group][link.rest][low:high]
                if bits:
                    xor_at(block, stream, at)
                    rest ^= block
                else:
                    add_at(block, stream, at, negate=True)
                    if width < 64:
                        block &= mask
                    rest += block
                if message is None and hashed is not None:
                    hashed.add(block)
        sends: dict[int, Section] = {}
        for link, message, hashed in zip(links, messages, hashes, strict=True):
            if message is not None and self.me == link.sender:
                sends[link.receiver] = narrow(message, width)
            elif message is not None and hashed is not None:
                hashed.add(narrow(message, width))
        size = narrow_bytes(n, width)
        got = await Exchange(label, sends, {link.sender: size for link in links if self.me == link.receiver}, size)
        # After the round at both, and in the order of the links: the two logs must grow alike.
        self._step += 1
        for link, group, hashed in zip(links, groups, hashes, strict=True):
            if hashed is None:
                continue
            if self.me == link.receiver:
                self._receive(label, link, hashed, got[link.sender], sums[group][link.rest], width, bits)
            partner = link.receiver if self.me == link.witness else link.witness
            self._logs[link.sender, partner].add(self._step, hashed.value)
        self._step_ends()
        return [tuple(total[c] for c in self.held) for total in sums]

    def _receive(
        self, label: str, link: Link, hashed: _Hash, message: memoryview, total: U64Array, width: int, bits: bool
    ) -> None:
        """Hash a message and add it to a component."""
        if width < 64:
            hashed.add(message)
            try:
                total += widen(message, total.size, width)
            except CodecError as error:
                self._wipe()
                raise error.by(self.session.parties[link.sender], label) from None
            return
        values = np.frombuffer(message, np.uint64)
        for low in range(0, total.size, _BLOCK):
            block, part = values[low : low + _BLOCK], total[low : low + _BLOCK]
            hashed.add(block)
            if bits:
                part ^= block
            else:
                part += block

    async def _input(self, label: str, owner: int, values: U64Array | None, n: int, bits: bool) -> tuple[U64Array, ...]:
        """Component `owner` is zero, the next two are common randomness, the last is what is left; two receive it."""
        self._check_party("owner", owner)
        first, second, last = ((owner + step) % 4 for step in (1, 2, 3))
        size, call = 8 * n, self._call()
        parts = {c: np.zeros(n, np.uint64) for c in self.held}
        for component in (first, second):
            if self.me != component:
                stream = self._streams[component]
                (xor_at if bits else add_at)(parts[component], stream, stream.take(n))
        if self.me == owner and values is not None:
            message = values ^ parts[first] ^ parts[second] if bits else values - parts[first] - parts[second]
            parts[last] = message
            got = await Exchange(label, {first: message, second: message}, {})
        else:
            got = await Exchange(label, {}, {owner: size} if self.me in (first, second) else {}, size)
        self._step += 1
        if self.me in (first, second):
            item = _Hash(self._hashers[owner], 0, (owner, first, second), call).add(got[owner]).value
            self._logs[owner, first if self.me == second else second].add(self._step, item)
            parts[last] = np.frombuffer(got[owner], np.uint64)
        self._step_ends()
        return tuple(parts[c] for c in self.held)

    async def _open(self, label: str, parts: Sequence[U64Array], to: int | None) -> memoryview | None:
        """The component that this party lacks, once everything is checked and all three who hold it agree."""
        self._check_party("to", to)
        call = self._call()
        await self._verified()
        own = self._by_component(parts)
        full, first, second = ((self.me + step) % 4 for step in (3, 1, 2))

        def said(component: int, data: Section | memoryview) -> bytes:
            # Under the key that the sender of the component lacks; the other three have it.
            return _Hash(self._hashers[(component + 3) % 4], 1, (component,), call).add(data).value

        sends: dict[int, Section] = {
            peer: own[peer] if peer == first else said(peer, own[peer]) for peer in self._peers if to in (None, peer)
        }
        wants = {full: parts[0].nbytes, first: _SHORT, second: _SHORT} if to in (None, self.me) else {}
        got = await Exchange(label, sends, wants, parts[0].nbytes)
        if not wants:
            return None
        hashes = {peer: bytes(got[peer]) for peer in (first, second)} | {full: said(self.me, got[full])}
        # Two of the three are honest and say the same.
        said_by = list(hashes.values())
        odd = {peer for peer in hashes if said_by.count(hashes[peer]) == 1}
        self._require(not odd, odd, label, "the three who hold a component do not agree on it")
        return got[full]

    # ---- numbers ----

    async def input(self, owner: int, values: U64Array | None, shape: tuple[int, ...]) -> Value:
        if self.me == owner and (values is None or values.shape != shape):
            raise ParameterError(f"party {owner} owns this input and has to pass an array of shape {shape}")
        flat = None if values is None else np.ascontiguousarray(as_words("the input", values)).reshape(-1)
        parts = await self._input(f"input {owner} {shape}", owner, flat, math.prod(shape), False)
        return Value(tuple(part.reshape(shape) for part in parts))

    async def open(self, a: Value, to: int | None = None) -> U64Array | None:
        parts = [np.ascontiguousarray(part) for part in a.parts]
        lacked = await self._open(f"open {to} {a.shape}", parts, to)
        if lacked is None:
            return None
        total: U64Array = parts[0] + parts[1] + parts[2] + _array(lacked, a.shape)
        return total

    async def mul(self, a: Value, b: Value) -> Value:
        shape = np.broadcast_shapes(a.shape, b.shape)
        x, y = (
            self._by_component([np.ascontiguousarray(np.broadcast_to(part, shape)).reshape(-1) for part in value.parts])
            for value in (a, b)
        )

        def fill(link: Link, low: int, high: int, out: U64Array) -> None:
            here = slice(low, high)
            i, j = link.receiver, link.rest
            if link in _DIAGONAL:
                _core.cross_product(x[i][here], y[i][here], x[j][here], y[j][here], out=out)
            else:
                _core.rep3_product(x[i][here], x[j][here], y[i][here], y[j][here], out=out)

        (parts,) = await self._joint(f"mul {shape}", _PAIRS, [None] * 6, math.prod(shape), fill=fill)
        return Value(tuple(part.reshape(shape) for part in parts))

    async def _matrix(self, label: str, shape: tuple[int, int], product: Callable[[int, int, bool], U64Array]) -> Value:
        # x y = sum over the cycle of (x_i + x_j) (y_i + y_j) - sum over the diagonals of (x_i - x_j) (y_i - y_j): every
        # x_i y_j once, and x_i y_i, which is in two pairs of the cycle and one diagonal, 1 + 1 - 1 times. One product
        # of matrices for every pair, half of what the pairs' terms take one by one.
        messages = [
            product(link.receiver, link.rest, link in _DIAGONAL) if self.me in link[:2] else None for link in _PAIRS
        ]
        (parts,) = await self._joint(f"{label} {shape}", _PAIRS, messages, shape[0] * shape[1])
        return Value(tuple(part.reshape(shape) for part in parts))

    async def matmul(self, a: Value, b: Value) -> Value:
        if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
            raise ParameterError(f"shapes {a.shape} and {b.shape} cannot be multiplied; pass (n, k) and (k, m)")
        shape = (a.shape[0], b.shape[1])
        x, y = (self._by_component([np.ascontiguousarray(part) for part in value.parts]) for value in (a, b))

        def product(i: int, j: int, minus: bool) -> U64Array:
            sign = -1 if minus else 1
            left, right = _core.ring_combine(x[i], sign, x[j], 1), _core.ring_combine(y[i], 1, y[j], sign)
            return _core.ring_matmul(left, right).reshape(-1)

        return await self._matrix(f"matmul {a.shape[1]}", shape, product)

    async def gram(self, a: Value) -> Value:
        if len(a.shape) != 2:
            raise ParameterError(f"shape is {a.shape}; a Gram matrix is taken of (n, d)")
        shape = (a.shape[0], a.shape[0])
        x = self._by_component([np.ascontiguousarray(part) for part in a.parts])

        def product(i: int, j: int, minus: bool) -> U64Array:
            out = _core.ring_gram(x[i], 1, x[j], -1 if minus else 1)
            return (np.negative(out) if minus else out).reshape(-1)

        return await self._matrix(f"gram {a.shape[1]}", shape, product)

    # ---- bits ----

    async def input_bits(self, owner: int, planes: U64Array | None, count: int, n: int) -> Bits:
        shape = (count, words(n))
        if self.me == owner and (planes is None or planes.shape != shape):
            raise ParameterError(f"party {owner} owns these bits and has to pass planes of shape {shape}")
        flat = None if planes is None else np.ascontiguousarray(as_words("the input", planes)).reshape(-1)
        parts = await self._input(f"input-bits {owner} {shape}", owner, flat, math.prod(shape), True)
        return Bits(tuple(part.reshape(shape) for part in parts), n)

    async def _bit_products(self, label: str, links: Sequence[Link], a: Bits, b: Bits, across: bool) -> Bits:
        shape = a.parts[0].shape
        x, y = (self._by_component([np.ascontiguousarray(p).reshape(-1) for p in bits.parts]) for bits in (a, b))

        def fill(link: Link, low: int, high: int, out: U64Array) -> None:
            here = slice(low, high)
            i, j = link.receiver, link.rest
            if across:
                i, j = min(i, j), max(i, j)
                np.bitwise_and(x[i][here], y[j][here], out=out)
            elif link in _DIAGONAL:
                _core.cross_and(x[i][here], y[i][here], x[j][here], y[j][here], out=out)
            else:
                _core.rep3_and(x[i][here], x[j][here], y[i][here], y[j][here], out=out)

        (parts,) = await self._joint(
            f"{label} {shape}", links, [None] * len(links), math.prod(shape), bits=True, fill=fill
        )
        return Bits(tuple(part.reshape(shape) for part in parts), a.n)

    async def bit_and(self, a: Bits, b: Bits) -> Bits:
        return await self._bit_products("and", _PAIRS, a, b, False)

    async def open_bits(self, a: Bits, to: int | None = None) -> U64Array | None:
        shape = a.parts[0].shape
        parts = [np.ascontiguousarray(part) for part in a.parts]
        lacked = await self._open(f"open-bits {to} {shape}", parts, to)
        if lacked is None:
            return None
        total: U64Array = parts[0] ^ parts[1] ^ parts[2] ^ _array(lacked, shape)
        return total

    # ---- between numbers and bits: u = x_0 + x_1 is known to parties 2 and 3, t = x_2 + x_3 to parties 0 and 1 ----

    def _known(self, a: Value) -> U64Array:
        """The addend that this party knows, modulo 2^64, flat."""
        own = self._by_component(a.parts)
        total: U64Array = own[0] + own[1] if self.me >= 2 else own[2] + own[3]
        return np.ascontiguousarray(total).reshape(-1)

    async def _both(
        self, label: str, known: U64Array, *, width: int = 64, merge: bool = False, bits: bool = False
    ) -> list[tuple[U64Array, ...]]:
        """Share what parties 2 and 3 know, and what parties 0 and 1 know: [u] and [t], or their sum."""
        messages = [known.copy() if self.me in link[:2] else None for link in (_U, _T)]
        groups = [0, 0] if merge else [0, 1]
        name = f"{label} {width} ({known.size},)"
        return await self._joint(name, (_U, _T), messages, known.size, groups=groups, width=width, bits=bits)

    async def _known_bits(self, known: U64Array, width: int, sizes: Sequence[int]) -> tuple[Bits, Bits]:
        n = known.size
        planes = _core.to_planes(known, width)
        if sizes:
            planes = monomials(planes, sizes)
        u, t = await self._both("addends", planes.reshape(-1), bits=True)
        return (
            Bits(tuple(part.reshape(planes.shape) for part in u), n),
            Bits(tuple(part.reshape(planes.shape) for part in t), n),
        )

    async def addends(
        self, a: Value, width: int, sizes: Sequence[int] = (), change: Change | None = None
    ) -> tuple[Bits, Bits]:
        known = self._known(a)
        if change is not None:
            known = change(known.reshape(a.shape)).reshape(-1)
        return await self._known_bits(known, width, sizes)

    async def and_addends(self, u: Bits, t: Bits, sums: Sums | None = None) -> Bits:
        # u lies in components 0 and 1, t in 2 and 3: four pairs have a product of both, and no pair has two.
        if sums is None:
            return await self._bit_products("and-addends", _ACROSS, u, t, True)
        shape = sums.ends.size, u.parts[0].shape[1]
        x, y = (self._by_component([np.ascontiguousarray(part) for part in bits.parts]) for bits in (u, t))
        messages = [
            _core.planes_dot(
                x[min(link.receiver, link.rest)], y[max(link.receiver, link.rest)], sums.ends, sums.left, sums.right
            ).reshape(-1)
            if self.me in link[:2]
            else None
            for link in _ACROSS
        ]
        label = f"and-addends {shape} {sums.label}"
        (parts,) = await self._joint(label, _ACROSS, messages, shape[0] * shape[1], bits=True)
        return Bits(tuple(part.reshape(shape) for part in parts), u.n)

    async def _known_product(self, label: str, known: U64Array, width: int) -> tuple[Value, Value, Value]:
        """[u], [t] and [u t] from what parties know, all right modulo 2^width."""
        u, t = await self._both(label, known, width=width)
        x, y = self._by_component(u), self._by_component(t)
        messages = [
            x[min(link.receiver, link.rest)] * y[max(link.receiver, link.rest)] if self.me in link[:2] else None
            for link in _ACROSS
        ]
        name = f"{label} {width} ({known.size},)"
        (product,) = await self._joint(name, _ACROSS, messages, known.size, width=width)
        return Value(u), Value(t), Value(product)

    async def to_number(self, bits: Bits, width: int) -> Value:
        # b = u ^ t = u + t - 2 u t with u = b_0 ^ b_1 and t = b_2 ^ b_3.
        if bits.planes != 1:
            raise ParameterError(f"{bits.planes} planes; pass one")
        own = self._by_component(bits.parts)
        plane = own[0] ^ own[1] if self.me >= 2 else own[2] ^ own[3]
        known = _core.from_planes(np.ascontiguousarray(plane), bits.n)
        u, t, product = await self._known_product("to-number", known, width)
        return self.sub(self.add(u, t), product.map(lambda part: part << _ONE))

    async def choose_sum(self, bits: Bits, a: Value) -> Value:
        shape = a.shape
        chosen = await self.to_number(bits, 64)
        flat = (shape[0], math.prod(shape[1:]))
        x, y = (
            self._by_component([np.ascontiguousarray(part).reshape(flat) for part in value.parts])
            for value in (chosen, a)
        )

        def fill(link: Link, low: int, high: int, out: U64Array) -> None:
            i, j = link.receiver, link.rest
            if not shape[0]:
                out[:] = 0  # no row is the first one, which would overwrite what is in this memory
            for row in range(shape[0]):
                here = row, slice(low, high)
                if link in _DIAGONAL:
                    _core.cross_product(x[i][here], y[i][here], x[j][here], y[j][here], out=out, accumulate=row > 0)
                else:
                    _core.rep3_product(x[i][here], x[j][here], y[i][here], y[j][here], out=out, accumulate=row > 0)

        (parts,) = await self._joint(f"choose-sum {shape}", _PAIRS, [None] * 6, math.prod(shape[1:]), fill=fill)
        return Value(tuple(part.reshape(shape[1:]) for part in parts))

    async def truncate(self, a: Value, shift: int) -> Value:
        # c = a + 2^62 lies in [0, 2^63). Of its addends u, t let s, r be the top bits: u + t = c + 2^64 w. c has no top
        # bit, so that w = s or r: both set wraps, none does not, and one set leaves the top bit unless it wraps.
        # c / 2^shift = floor(u / 2^shift) + ceil(t / 2^shift) - 2^(64-shift) (s + r - s r), up to less than one unit.
        # Who knows u inputs floor(u / 2^shift) - 2^(64-shift) s, who knows t the same with ceil, r; s r is a product.
        if not 1 <= shift <= 62:
            raise ParameterError(f"shift is {shift}; allowed is [1, 62]")
        shape = a.shape
        c = self.add_public(a, np.full(shape, _OFFSET))
        known = self._known(c)
        by, top, back = np.uint64(shift), known >> np.uint64(63), np.uint64(64 - shift)
        quotient = known >> by
        if self.me < 2:
            quotient += ((known & ((_ONE << by) - _ONE)) != 0).astype(np.uint64)
        quotient -= top << back
        both = self.scheduler.spawn(self._both("truncate", quotient, merge=True))
        _, _, product = await self._known_product("truncate", top, shift)
        (total,) = await both
        parts = tuple(part + (wrap << back) for part, wrap in zip(total, product.parts, strict=True))
        out = self.add_public(Value(parts), np.full(known.size, (1 << 64) - (1 << (62 - shift)), np.uint64))
        return out.map(lambda part: part.reshape(shape))

    async def extend(self, a: Value, width: int) -> Value:
        # a + 2^(width-1) modulo 2^width is y in [0, 2^width), with parts below 2^width. Over the integers
        # y_0 + y_1 = u + 2^width p, y_2 + y_3 = t + 2^width q with u, t < 2^width, and u + t = y + 2^width c:
        # y = sum of the parts - 2^width (p + q + c). Those who know u, t input p, q, which are bits; c is a carry.
        if not 1 <= width <= 62:
            raise ParameterError(f"width is {width}; allowed is [1, 62]")
        shape = a.shape
        mask, by = np.uint64((1 << width) - 1), np.uint64(width)
        shifted = self.add_public(a, np.full(shape, np.uint64(1 << (width - 1))))
        y = shifted.map(lambda part: (part & mask).reshape(-1))
        known = self._known(y)
        both = self.scheduler.spawn(self._both("extend", known >> by, width=64 - width, merge=True))
        below = plan(width)
        u, t = await self._known_bits(known & mask, width, below.sizes)
        overflow = await self.to_number(await carry(self, u, t, below), 64 - width)
        (wraps,) = await both
        parts = tuple(
            part - ((high + over) << by) for part, high, over in zip(y.parts, wraps, overflow.parts, strict=True)
        )
        out = self.add_public(Value(parts), np.full(known.size, (1 << 64) - (1 << (width - 1)), np.uint64))
        return out.map(lambda part: part.reshape(shape))
