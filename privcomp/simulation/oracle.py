"""What a server can compute from everything that it was ever sent, and whether that is more than it was promised.

Every mask is a formal variable. A masked input is a row: the update, minus or plus its masks. Masks cancel where the
server
knows their secret: it holds t shares of it (its colluders' included), or a colluder is one end of the pair. What is
left of the row space once all unknown masks are eliminated is what the server can isolate; the measure is the fewest
honest clients in a non-zero combination. The promise: at least max(t + 1, policy minimum + c) survivors minus the
colluders.

The oracle believes the wire only: it reads requests that clients answered and the answers, verifies digests itself,
and (in `Oracle.confirm`) computes the isolated sums from the real vectors with the real shares.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp._core import mask_add, unpack
from privcomp.codec import Message, decode_any
from privcomp.rounds.messages import RoundAnnouncement
from privcomp.secagg.client import open_pair_extra
from privcomp.secagg.context import (
    KIND_B,
    KIND_ROOT,
    Directory,
    RoundContext,
    key_list_hash,
    pair_extra,
    pair_secret,
    root_keys,
    segment_seeds,
    self_secret,
    working_dtype,
)
from privcomp.secagg.leaves import Leaves, pack_leaves
from privcomp.secagg.messages import (
    Advertise,
    Announce,
    Bundle,
    BundleMessage,
    ConsistencyRequest,
    ConsistencySignature,
    KeyList,
    MaskRequest,
    UnmaskRequest,
    UnmaskResponse,
    UploadBlock,
    UploadEnd,
    members,
)
from privcomp.sharing.shamir import combine_bytes
from privcomp.typing import RingArray

__all__ = ["Oracle", "fewest"]

_PRIME = (1 << 61) - 1
_LARGE = 1 << 32
_REGISTRY: Mapping[int, type[Message]] = {
    cls.TAG: cls
    for cls in (
        Announce,
        RoundAnnouncement,
        Advertise,
        KeyList,
        BundleMessage,
        MaskRequest,
        UploadBlock,
        UploadEnd,
        ConsistencyRequest,
        ConsistencySignature,
        UnmaskRequest,
        UnmaskResponse,
    )
}
#: ("x", client, model) | ("y", row) | ("b", owner, view) | ("s", low, high, view); a view is key-list hash + U2 digest
Variable = tuple[Any, ...]
Row = dict[Variable, int]


@dataclass
class _List:
    """A key list under which an honest client shared its secrets."""

    directory: Directory
    bundles: dict[bytes, dict[bytes, Bundle]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Input:
    """A masked input that left an honest client."""

    client: bytes
    list_hash: bytes
    u2: bytes
    peers: tuple[bytes, ...]
    root: bytes


class Oracle:
    """Watches all traffic of one run (any number of rounds and sessions).

    Args:
        corrupt: ids of the server's colluders.
        c: the number of corrupt clients that the honest clients' policy withstands.
        honest_min: the policy's minimum of honest survivors.
    """

    def __init__(self, corrupt: Iterable[bytes] = (), *, c: int = 0, honest_min: int = 3) -> None:
        self.corrupt = frozenset(corrupt)
        self.c, self.honest_min = c, honest_min
        self.problems: list[str] = []
        self.contexts: dict[bytes, RoundContext] = {}
        self.lists: dict[bytes, _List] = {}
        self.inputs: dict[tuple[bytes, bytes], _Input] = {}  # (client, round digest)
        self.blocks: dict[tuple[bytes, bytes], dict[tuple[int, int], bytes]] = defaultdict(dict)
        self.released: dict[tuple[bytes, bytes, bytes], set[int]] = defaultdict(set)  # holder, round, owner -> kinds
        self.shares: dict[tuple[int, bytes, bytes], dict[bytes, bytes]] = defaultdict(
            dict
        )  # kind, owner, list -> holder
        self.roots: dict[tuple[bytes, bytes], bytes] = {}  # (colluder, list) -> its mask root
        self.signed: dict[tuple[bytes, bytes], bytes] = {}
        self.answers = 0
        self._released: set[bytes] = set()
        self._wire: dict[bytes, bytes] = {}

    # ---- watching ----

    def wire(self, data: bytes) -> None:
        """Note bytes that travelled, whoever sent them."""
        self._wire.setdefault(sha256(data).digest(), data)

    def observe(self, client: bytes, request: bytes, answer: list[bytes]) -> None:
        """Note what an honest client answered to what."""
        self.wire(request)
        asked = decode_any(request, _REGISTRY, max_bytes=len(request))
        if isinstance(asked, RoundAnnouncement):
            asked = Announce.from_bytes(asked.announce, max_bytes=1 << 17)
        if isinstance(asked, Announce):
            context = RoundContext.of(asked)
            self.contexts[context.digest] = context
        for data in answer:
            self.wire(data)
            self.answers += 1
            told = decode_any(data, _REGISTRY, max_bytes=len(data))
            if told.id != client:  # type: ignore[attr-defined]
                self.problems.append(f"{client!r} sent a message in the name of another client")
            if isinstance(told, BundleMessage) and isinstance(asked, KeyList):
                self._shared(client, asked, told)
            elif isinstance(told, UploadBlock):
                self.blocks[client, told.round_digest][told.segment, told.index] = told.payload
            elif isinstance(told, UploadEnd) and isinstance(asked, MaskRequest):
                self._masked(client, asked, told)
            elif isinstance(told, ConsistencySignature):
                if self.signed.setdefault((client, told.round_digest), told.signature) != told.signature:
                    self.problems.append(f"{client!r} gave two consistency signatures in one round")
            elif isinstance(told, UnmaskResponse):
                self._answered(client, told)

    def _shared(self, client: bytes, asked: KeyList, told: BundleMessage) -> None:
        known = self.lists.get(told.list_hash)
        if known is None:
            context = self.contexts[told.round_digest]
            entries = [Advertise.from_bytes(data, max_bytes=1 << 13) for data in asked.entries]
            hashes = [sha256(data).digest() for data in asked.entries]
            packed = asked.leaves or pack_leaves(zip((e.id for e in entries), hashes, strict=True))
            leaves = Leaves(packed, context.params.clients)
            directory = Directory(context, key_list_hash(context, packed), leaves.n, {})
            # What no client was shown has a name all the same.
            directory.ids = tuple(leaves.id(p) for p in range(leaves.n))
            directory.place = {party: p for p, party in enumerate(directory.ids)}
            if directory.hash != told.list_hash:
                self.problems.append(f"{client!r} signed bundles for another key list than it was shown")
                return
            known = self.lists[told.list_hash] = _List(directory)
        for data in asked.entries:
            entry = Advertise.from_bytes(data, max_bytes=1 << 13)
            known.directory.entries.setdefault(known.directory.place[entry.id], entry)
        known.bundles[client] = {known.directory.ids[b.peer]: b for b in told.bundles}

    def _masked(self, client: bytes, asked: MaskRequest, told: UploadEnd) -> None:
        directory = self.lists[told.list_hash].directory
        peers = members(told.peers, directory.n)
        if peers is None or told.u2_digest != directory.u2_digest(asked.u2):
            self.problems.append(f"{client!r} signed another U2 than it was shown")
            return
        entry = _Input(client, told.list_hash, asked.u2, tuple(directory.ids[p] for p in sorted(peers)), told.root)
        if self.inputs.setdefault((client, told.round_digest), entry) != entry:
            self.problems.append(f"{client!r} sent two masked inputs in one round")

    def _answered(self, client: bytes, told: UnmaskResponse) -> None:
        ids = self.lists[told.list_hash].directory.ids
        for share in told.shares:
            owner = ids[share.owner]
            kinds = self.released[client, told.round_digest, owner]
            kinds.add(share.kind)
            if len(kinds) > 1:
                self.problems.append(f"{client!r} released both kinds of share of {owner!r} in one round")
            self.shares[share.kind, owner, told.list_hash][client] = share.share
            self._released.add(share.share)

    # ---- what follows ----

    def _holders(self, kind: int, owner: bytes, list_hash: bytes) -> set[bytes]:
        ids = self.lists[list_hash].directory.ids
        return set(self.shares.get((kind, owner, list_hash), ())) | (self.corrupt & set(ids))

    def _opens(self, kind: int, owner: bytes, list_hash: bytes) -> bool:
        """Whether the server has t shares of a secret, or a colluder owns it."""
        directory = self.lists[list_hash].directory
        return owner in self.corrupt or len(self._holders(kind, owner, list_hash)) >= directory.thresholds.threshold

    def rows(self) -> list[Row]:
        """One row per masked input, without the masks that the server can compute."""
        out: list[Row] = []
        for index, entry in enumerate(self.inputs.values()):
            directory = self.lists[entry.list_hash].directory
            view = directory.u2_digest(entry.u2)
            row: Row = {("x", entry.client, directory.context.announce.model_hash): 1, ("y", index): 1}
            if not self._opens(KIND_B, entry.client, entry.list_hash):
                row["b", entry.client, view] = 1
            for peer in entry.peers:
                if not any(self._opens(KIND_ROOT, end, entry.list_hash) for end in (entry.client, peer)):
                    low, high = sorted((entry.client, peer))
                    row["s", low, high, view] = 1 if entry.client == low else -1
            out.append(row)
        return out

    @property
    def promised(self) -> int:
        """The fewest honest addends of any sum that the clients' rules allow."""
        lists = {entry.list_hash for entry in self.inputs.values()}
        least = [
            max(d.thresholds.threshold + 1, max(self.honest_min, d.context.params.honest_survivors) + self.c)
            for d in (self.lists[h].directory for h in lists)
        ]
        return min(least, default=_LARGE) - len(self.corrupt)

    def isolated(self) -> tuple[int, tuple[bytes, ...], list[Row]]:
        """(fewest honest clients in a combination that the server can compute, who, all such combinations)."""
        return fewest(self.rows(), self.promised)

    def check(self, value: Callable[[bytes, bytes], NDArray[Any]]) -> list[str]:
        """Everything that went wrong so far: the problems seen, sums of too few, sums that the oracle got wrong.

        Args:
            value: (client, model hash) -> its vector of the first segment.
        """
        found = list(self.problems)
        least, who, basis = self.isolated()
        if least < self.promised:
            found.append(f"the server isolates {least} honest clients {who}, promised are {self.promised}")
        return found + self.confirm(basis, value)

    @property
    def released_shares(self) -> set[bytes]:
        """Shares that honest clients sent to the server in the clear, as the protocol wants it."""
        return set(self._released)

    def leaked(self, secrets: Iterable[bytes]) -> list[str]:
        """Which of these byte strings travelled in the clear."""
        blob = b"\x00\xff".join(self._wire.values())
        return [
            f"a secret of {len(s)} bytes is on the wire: {s[:8].hex()}..."
            for s in secrets
            if len(s) >= 16 and s in blob
        ]

    # ---- the same with real numbers ----

    def confirm(self, basis: list[Row], value: Callable[[bytes, bytes], NDArray[Any]]) -> list[str]:
        """Compute the isolated sums from the real vectors and the real shares, and compare them with the updates."""
        found: list[str] = []
        inputs = list(self.inputs.values())
        for row in basis:
            parts = [(var[1], _small(a)) for var, a in row.items() if var[0] == "y"]
            rest = [(var, _small(a)) for var, a in row.items() if var[0] == "x"]
            if any(abs(a) > 64 for _, a in parts + rest):
                continue  # a combination with fractions: true modulo the prime, no statement about 2^bits
            first = self.lists[inputs[parts[0][0]].list_hash].directory.context.params.segments[0]
            if not first.is_ring:
                continue
            total = np.zeros(first.length, dtype=np.uint64)
            for index, a in parts:
                total += np.uint64(a % (1 << 64)) * self._without_known_masks(inputs[index])
            for var, a in rest:
                total -= np.uint64(a % (1 << 64)) * value(var[1], var[2]).astype(np.uint64)
            if (total & np.uint64((1 << first.bits) - 1)).any():
                found.append(f"the oracle predicts a sum of {[v[1] for v, _ in rest]} that the server cannot compute")
        return found

    def _without_known_masks(self, entry: _Input) -> NDArray[np.uint64]:
        known = self.lists[entry.list_hash]
        directory = known.directory
        params, segment = directory.context.params, directory.context.params.segments[0]
        blocks = self.blocks[entry.client, directory.context.digest]
        starts = range(0, segment.length, params.block_entries)
        acc: RingArray = np.concatenate(
            [
                unpack(
                    blocks[0, k],
                    min(params.block_entries, segment.length - start),
                    segment.bits,
                    dtype=working_dtype(segment),
                )
                for k, start in enumerate(starts)
            ]
        )
        secrets, negate = [], []
        if self._opens(KIND_B, entry.client, entry.list_hash):
            b = self._combined(KIND_B, entry.client, entry.list_hash)
            secrets.append(self_secret(directory, entry.u2, directory.place[entry.client], b))
            negate.append(True)
        for peer in entry.peers:
            opened = next((e for e in (entry.client, peer) if self._opens(KIND_ROOT, e, entry.list_hash)), None)
            if opened is None:
                continue
            low, high = sorted((directory.place[entry.client], directory.place[peer]))
            other = peer if opened == entry.client else entry.client
            root = self._combined(KIND_ROOT, opened, entry.list_hash)
            mine = root_keys(directory.context, root)
            shared = mine.key.exchange(directory.entries[directory.place[other]].mask_key)
            extra = b""
            if params.hybrid:
                lower, higher = directory.ids[low], directory.ids[high]
                if opened == lower:
                    extra = pair_extra(directory.context, root, higher)
                else:
                    extra = open_pair_extra(directory, mine.kem_seed, low, high, known.bundles[lower][higher].pair[0])
            secrets.append(pair_secret(directory, entry.u2, low, high, shared, extra))
            negate.append(entry.client == directory.ids[low])
        if secrets:
            mask_add(acc, segment_seeds(params, secrets, 0), np.array(negate), offset=0, cipher=params.cipher)
        return acc.astype(np.uint64)

    def _combined(self, kind: int, owner: bytes, list_hash: bytes) -> bytes:
        if kind == KIND_ROOT and (owner, list_hash) in self.roots:
            return self.roots[owner, list_hash]
        directory = self.lists[list_hash].directory
        have = self.shares[kind, owner, list_hash]
        points = np.array([directory.place[holder] + 1 for holder in have], dtype=np.uint64)
        return combine_bytes(points, list(have.values()), directory.thresholds.threshold)


def _small(a: int) -> int:
    """A residue as a number around zero."""
    return a if a <= _PRIME // 2 else a - _PRIME


def fewest(rows: list[Row], enough: int = _LARGE) -> tuple[int, tuple[bytes, ...], list[Row]]:
    """Eliminate every mask variable; the smallest support (in clients) of a non-zero rest.

    Args:
        rows: the masked inputs.
        enough: sizes from here on are not told apart (the answer is then at least `enough`).

    Returns:
        (size, clients, basis of everything without masks); a size of 2^32 where nothing is left.
    """
    while True:  # a mask in one row only can never cancel: drop that row
        count = Counter(v for row in rows for v in row if v[0] in "bs")
        left = [row for row in rows if not any(count[v] == 1 for v in row if v[0] in "bs")]
        if len(left) == len(rows):
            break
        rows = left
    for v in sorted({v for row in rows for v in row if v[0] in "bs"}):
        rows = _eliminate(rows, v)
    updates = [{v: a for v, a in row.items() if v[0] == "x"} for row in rows]
    basis = _independent(updates)
    who = sorted({v[1] for row in basis for v in row})
    if not basis:
        return _LARGE, (), rows
    if len(basis) == 1:
        return len(who), tuple(who), rows
    for m in range(1, min(len(who) + 1, enough)):
        for some in itertools.combinations(who, m):
            rest = basis
            for v in {v for row in basis for v in row if v[1] not in some}:
                rest = _eliminate(rest, v)
            if _independent(rest):
                return m, some, rows
    return max(enough, 1), tuple(who), rows


def _eliminate(rows: list[Row], v: Variable) -> list[Row]:
    """The combinations of the rows without variable v."""
    pivot = next((row for row in rows if v in row), None)
    if pivot is None:
        return rows
    inverse, out = pow(pivot[v], -1, _PRIME), []
    for row in rows:
        if row is not pivot:
            factor = row.get(v, 0) * inverse % _PRIME
            new = {w: (row.get(w, 0) - factor * pivot.get(w, 0)) % _PRIME for w in row | pivot} if factor else row
            out.append({w: a for w, a in new.items() if a} if factor else row)
    return out


def _independent(rows: list[Row]) -> list[Row]:
    basis, rows = [], [row for row in rows if row]
    while rows:
        basis.append(rows[0])
        rows = [row for row in _eliminate(rows, next(iter(rows[0]))) if row]
    return basis
