"""Secure aggregation beside Flower's SecAgg+: its own functions, in the order in which its client and server call them.

The two sides mask with different keystreams, so what is compared is what is left once each side's masks are taken off:
both must give back the same integers modulo 2^32 (Flower's default modulus).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from bench.drive import Round, ids_of, plain_sum
from bench.harness import Case, Peer, Row, Target, expect, network_model
from bench.peers import absent, flower, versioned
from privcomp import _core
from privcomp.encoding import FixedPoint
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.policy import Policy
from privcomp.secagg import BONAWITZ, MALICIOUS, SECAGGPLUS, SEMI_HONEST, Client, Contribution, Params, Segment
from privcomp.secagg.context import Directory, RoundContext, pair_secret, segment_seeds, self_secret
from privcomp.secagg.messages import Advertise, Announce, UploadBlock, UploadEnd, bitmap
from privcomp.sharing.shamir import combine_bytes, share_many
from privcomp.xof import mask_seeds

__all__ = ["SECAGG_ROWS"]

FLOWER_MODULUS = 1 << 32  # the default `modulus_range` of Flower's SecAgg+
SEED = 20240601


def _bytes(name: str, length: int = 32) -> bytes:
    """Fixed bytes for the inputs of a row."""
    return hashlib.shake_256(f"{SEED}/{name}".encode()).digest(length)


def _vector(name: str, d: int, bits: int = 16) -> NDArray[np.uint32]:
    """Signed `bits`-bit numbers as they lie in a u32 ring."""
    rng = np.random.default_rng(int.from_bytes(_bytes(name, 8), "little"))
    limit = (1 << (bits - 1)) - 1
    return rng.integers(-limit, limit, d, dtype=np.int32, endpoint=True).view(np.uint32)


def _aes_ctr(seed: bytes, length: int) -> NDArray[np.uint32]:
    """The keystream of a seed by `cryptography`: the reference for ours."""
    encryptor = Cipher(algorithms.AES(seed[:16]), modes.CTR(seed[16:])).encryptor()
    return np.frombuffer(encryptor.update(bytes(length)), dtype="<u4")


# ---- secagg.keystream ----


def _keystream(quick: bool, peers: bool) -> Case:
    """One keystream added to a u32 vector in DRAM. The peer writes its keystream into a buffer that exists already."""
    n, seed = 10**5 if quick else 10**7, _bytes("keystream")
    seeds, negate = np.frombuffer(seed, np.uint8).reshape(1, 32), np.zeros(1, np.bool_)
    start = _vector("keystream", n, 32)
    acc, peer_acc = start.copy(), start.copy()
    zeros, space = bytes(4 * n), bytearray(4 * n + 16)
    buffer = np.frombuffer(space, np.uint8)

    def ours() -> NDArray[np.uint32]:
        _core.mask_add(acc, seeds, negate)
        return acc

    def peer() -> NDArray[np.uint32]:
        encryptor = Cipher(algorithms.AES(seed[:16]), modes.CTR(seed[16:])).encryptor()
        written = encryptor.update_into(zeros, space)
        np.add(peer_acc, buffer[:written].view("<u4"), out=peer_acc)
        return peer_acc

    def check(result: Any, peer_result: Any) -> None:
        expect(np.array_equal(result, start + _aes_ctr(seed, 4 * n)), "our keystream is not AES-128-CTR")
        expect(np.array_equal(result, peer_result), "keystreams differ")

    name = versioned("cryptography", "cryptography") + " AES-CTR, NumPy add"
    return Case(ours, Peer(name, peer), check, {"n": n, "bits": 32, "security_bits": 128, "seed": SEED}, repeats=15)


# ---- secagg.mask ----

#: A client adds the masks of its neighbours one after another.
_MASK_LOOPS = 10


def _mask(quick: bool, peers: bool) -> Case:
    """One neighbour's mask, from the 32-byte secret shared with it: expanded and added modulo 2^32."""
    d, secret = 10**4 if quick else 10**6, _bytes("mask")
    x = _vector("mask", d)
    acc, negate = x.copy(), np.zeros(1, np.bool_)

    def seed() -> bytes:
        return mask_seeds(secret, "bench-mask", cipher=_core.AES128_CTR)

    def ours() -> NDArray[np.uint32]:
        _core.mask_add(acc, np.frombuffer(seed(), np.uint8).reshape(1, 32), negate)
        return acc

    def check(result: Any, peer_result: Any) -> None:
        expect(np.array_equal(result - _aes_ctr(seed(), 4 * d), x), "our mask does not come off")
        if fl is not None:
            expect(np.array_equal(_unmasked(fl, peer_result, [(secret, 1)]), x), "Flower's mask does not come off")

    fl = flower() if peers else None
    side = absent("Flower pseudo_rand_gen, add, mod")
    if fl is not None:
        vector = [x.view(np.int32).astype(np.int64)]

        def peer() -> Any:
            mask = fl.utils.pseudo_rand_gen(secret, FLOWER_MODULUS, [(d,)])
            return fl.arithmetic.parameters_mod(fl.arithmetic.parameters_addition(vector, mask), FLOWER_MODULUS)

        side = Peer(fl.name + " pseudo_rand_gen, add, mod", peer)
    # Our accumulator is masked again and again, in place as in a round; it starts afresh so that the check can undo it.
    return Case(
        ours,
        side,
        check,
        {"d": d, "bits": 32, "security_bits": 128, "loops": _MASK_LOOPS, "seed": SEED},
        before=lambda: np.copyto(acc, x),
        repeats=15,
        loops=_MASK_LOOPS,
    )


def _unmasked(fl: Any, masked: Any, seeds: Sequence[tuple[bytes, int]]) -> NDArray[np.uint32]:
    """Flower's masked arrays with the masks (seed, sign) taken off again, one flat u32 vector."""
    shapes = [a.shape for a in masked]
    left = list(masked)
    for secret, sign in seeds:
        mask = fl.utils.pseudo_rand_gen(secret, FLOWER_MODULUS, shapes)
        off = fl.arithmetic.parameters_subtraction if sign > 0 else fl.arithmetic.parameters_addition
        left = off(left, mask)
    left = fl.arithmetic.parameters_mod(left, FLOWER_MODULUS)
    return np.concatenate([a.reshape(-1) for a in left]).astype(np.uint32)


# ---- secagg.client ----


def _client(quick: bool, peers: bool) -> Case:
    """The masking stage of one client, from the secrets shared with each neighbour to the signed, serialised upload.

    Both sides mask modulo 2^32, add their self-mask, and leave key agreement and quantisation out. Ours binds each seed
    to round, key list, survivors and ids (two HKDFs), hashes and signs the blocks; Flower does not.
    """
    d, k = (10**4, 10) if quick else (10**6, 100)
    n, me = k + 1, k // 2
    ids, x = ids_of(n), _vector("client", d)
    shared = {j: _bytes(f"client/{j}") for j in range(n) if j != me}
    own_secret = _bytes("client/b")
    identity = Identity.from_seed(_bytes("client/identity"))
    roster = Roster.of({ids[me]: identity.public, **{p: _bytes(f"{p!r}") for p in ids if p != ids[me]}})
    params = Params(BONAWITZ, MALICIOUS, (Segment.ring(32, d),), n // 3, n)
    announce = Announce(params.to_bytes(), bytes(32), 1, "training", bytes(32), roster.hash, bytes(32))
    context = RoundContext.of(announce)
    zero = Advertise(bytes(32), b"", bytes(32), bytes(32), bytes(32), b"", b"", bytes(32), bytes(32), bytes(64))
    names = {p: replace(zero, id=party) for p, party in enumerate(ids)}
    directory = Directory(context, _bytes("client/list"), n, names)
    client = Client(ids[me], identity, Policy(), MemoryJournal(identity.public), roster)
    u2, peers_of_me = bitmap(set(range(n)), n), sorted(shared)
    negate = np.array([j < me for j in peers_of_me] + [False])
    contribution = Contribution((x,))

    def seeds() -> NDArray[np.uint8]:
        pairs = [pair_secret(directory, u2, min(me, j), max(me, j), secret, b"") for j, secret in shared.items()]
        return segment_seeds(params, [*pairs, self_secret(directory, u2, me, own_secret)], 0)

    def ours() -> list[bytes]:
        return list(client._upload(directory, u2, peers_of_me, contribution, [seeds()], negate))

    def check(result: Any, peer_result: Any) -> None:
        UploadEnd.from_bytes(result[-1], max_bytes=1 << 20)
        blocks = [UploadBlock.from_bytes(data, max_bytes=1 << 28) for data in result[:-1]]
        y = np.frombuffer(b"".join(block.payload for block in blocks), dtype="<u4").copy()
        for seed, sign in zip(seeds(), negate, strict=True):
            stream = _aes_ctr(seed.tobytes(), 4 * d)
            y += stream if sign else np.uint32(0) - stream
        expect(np.array_equal(y, x), "our masks do not come off")
        if fl is not None:
            masked = [fl.common.bytes_to_ndarray(data) for data in peer_result]
            signs = [(keys[j], -1 if j > me else 1) for j in peers_of_me] + [(own_secret, 1)]
            expect(np.array_equal(_unmasked(fl, masked, signs)[1:], x), "Flower's masks do not come off")

    side = absent("Flower secaggplus_mod, stage 2")
    fl = flower() if peers else None
    if fl is not None:
        import base64

        keys = {j: base64.urlsafe_b64encode(secret) for j, secret in shared.items()}  # as generate_shared_key gives it
        quantised = fl.arithmetic.factor_combine(1, [x.view(np.int32).astype(np.int64)])

        def peer() -> list[bytes]:
            # flwr/clientapp/mod/secure_aggregation/secaggplus_mod.py: _collect_masked_vectors from "Add private mask"
            vector = quantised
            dimensions = [a.shape for a in vector]
            private = fl.utils.pseudo_rand_gen(own_secret, FLOWER_MODULUS, dimensions)
            vector = fl.arithmetic.parameters_addition(vector, private)
            for j in peers_of_me:
                pairwise = fl.utils.pseudo_rand_gen(keys[j], FLOWER_MODULUS, dimensions)
                if me > j:
                    vector = fl.arithmetic.parameters_addition(vector, pairwise)
                else:
                    vector = fl.arithmetic.parameters_subtraction(vector, pairwise)
            vector = fl.arithmetic.parameters_mod(vector, FLOWER_MODULUS)
            return [fl.common.ndarray_to_bytes(a) for a in vector]

        side = Peer(
            fl.name + " secaggplus_mod, stage 2",
            peer,
            report=lambda result: {"peer_bytes_up": sum(map(len, result))},
            repeats=5,
        )
    return Case(
        ours,
        side,
        check,
        {"n": n, "d": d, "neighbours": k, "bits": 32, "security_bits": 128, "seed": SEED},
        report=lambda result, _: {"bytes_up": sum(map(len, result))},
        repeats=9,
    )


# ---- secagg.shamir ----


def _shamir(quick: bool, peers: bool) -> Case:
    """Share two 32-byte secrets among n with threshold t, then reconstruct both from t shares."""
    n, t = (10, 7) if quick else (100, 67)
    secrets = [_bytes("shamir/b"), _bytes("shamir/root")]
    points = np.arange(1, n + 1, dtype=np.uint64)
    rng = _core.Drbg().random_bytes

    def ours() -> list[bytes]:
        shares = share_many(secrets, t, points, rng=rng)
        return [combine_bytes(points[n - t :], of_one[n - t :], t) for of_one in shares]

    def check(result: Any, peer_result: Any) -> None:
        expect(result == secrets, "our secrets do not come back")
        expect(peer_result is None or peer_result == secrets, "Flower's secrets do not come back")

    side = absent("Flower create_shares, combine_shares")
    fl = flower() if peers else None
    if fl is not None:

        def peer() -> list[bytes]:
            shares = [fl.shamir.create_shares(secret, t, n) for secret in secrets]
            return [fl.shamir.combine_shares(of_one[n - t :]) for of_one in shares]

        side = Peer(fl.name + " create_shares, combine_shares", peer, repeats=3)
    return Case(ours, side, check, {"n": n, "threshold": t, "secrets": 2, "seed": SEED}, repeats=51)


# ---- secagg.server ----


def _server(quick: bool, peers: bool) -> Case:
    """The server's last step: from the masked sum and the shares that came, to the sum without masks.

    Both sides: the same threshold, every survivor's shares, the same clients lost after they had shared their keys.
    """
    n, d, lost_count = (8, 1000, 1) if quick else (50, 10**5, 5)
    ids = ids_of(n)
    vectors = {party: _vector(f"server/{party!r}", d) for party in ids}
    lost = frozenset(ids[:: n // lost_count][:lost_count])
    total = plain_sum([vectors[p] for p in ids if p not in lost], 32)
    params = Params(BONAWITZ, MALICIOUS, (Segment.ring(32, d),), 0 if quick else -(-n // 3) - 1, n)
    threshold = params.thresholds(n).threshold
    executor = ThreadPoolExecutor(1)
    server = Round(params, vectors, lost, executor).until_result()

    def before() -> None:
        server.__dict__.pop("_shares_by_owner", None)  # what an earlier run has indexed

    def check(result: Any, peer_result: Any) -> None:
        expect(np.array_equal(result.sums[0], total), "our sum is not the sum of the survivors' vectors")
        if peer_result is not None:
            found = np.concatenate(peer_result).astype(np.uint32)
            expect(np.array_equal(found, total), "Flower's sum is not the sum of the survivors' vectors")

    side = absent("Flower SecAggPlusWorkflow, unmasking")
    fl = flower() if peers else None
    if fl is not None:
        alive = [i for i in range(n) if ids[i] not in lost]
        state = _flower_round(fl, n, alive, [vectors[ids[i]] for i in alive], threshold)
        side = Peer(fl.name + " SecAggPlusWorkflow, unmasking", lambda: _flower_unmask(fl, state), repeats=1)
    return Case(
        server.result,
        side,
        check,
        {
            "n": n,
            "d": d,
            "dropouts": lost_count,
            "threshold": threshold,
            "bits": 32,
            "security_bits": 128,
            "seed": SEED,
        },
        before=before,
        repeats=9,
    )


def _flower_round(
    fl: Any, n: int, alive: Sequence[int], vectors: Sequence[NDArray[np.uint32]], threshold: int
) -> SimpleNamespace:
    """What Flower's server holds before it unmasks, made by Flower's own functions. Only what it will use is made."""
    asymmetric, d = fl.asymmetric, len(vectors[0])
    pairs = [asymmetric.generate_key_pairs() for _ in range(n)]
    public = [asymmetric.public_key_to_bytes(key) for _, key in pairs]
    private = [asymmetric.private_key_to_bytes(key) for key, _ in pairs]
    masked = np.zeros(d, dtype=np.int64)
    shares: dict[int, list[bytes]] = {}
    for i in range(n):
        if i not in alive:
            mine = fl.shamir.create_shares(private[i], threshold, n)
            shares[i] = [mine[j] for j in alive]
    for i, x in zip(alive, vectors, strict=True):
        seed = _bytes(f"flower/{i}")
        mine = fl.shamir.create_shares(seed, threshold, n)
        shares[i] = [mine[j] for j in alive]
        masked += x.view(np.int32)
        masked += fl.utils.pseudo_rand_gen(seed, FLOWER_MODULUS, [(d,)])[0]
        for j in range(n):
            # Between two survivors the masks cancel, whatever they are.
            if j not in alive:
                key = fl.symmetric.generate_shared_key(pairs[i][0], pairs[j][1])
                mask = fl.utils.pseudo_rand_gen(key, FLOWER_MODULUS, [(d,)])[0]
                masked += mask if i > j else -mask
    return SimpleNamespace(
        shares={i: shares[i] for i in range(n)},
        alive=frozenset(alive),
        public=public,
        masked=fl.arithmetic.parameters_mod([masked], FLOWER_MODULUS),
        n=n,
    )


def _flower_unmask(fl: Any, state: SimpleNamespace) -> Any:
    """flwr/server/workflow/secure_aggregation/secaggplus_workflow.py, unmask_stage, from "Remove masks" on."""
    arithmetic, vector = fl.arithmetic, state.masked
    shapes = arithmetic.get_parameters_shape(vector)
    for i, share_list in state.shares.items():
        secret = fl.shamir.combine_shares(share_list)
        if i in state.alive:
            vector = arithmetic.parameters_subtraction(vector, fl.utils.pseudo_rand_gen(secret, FLOWER_MODULUS, shapes))
            continue
        for j in range(state.n):
            if j == i:
                continue
            key = fl.symmetric.generate_shared_key(
                fl.asymmetric.bytes_to_private_key(secret), fl.asymmetric.bytes_to_public_key(state.public[j])
            )
            mask = fl.utils.pseudo_rand_gen(key, FLOWER_MODULUS, shapes)
            if i > j:
                vector = arithmetic.parameters_addition(vector, mask)
            else:
                vector = arithmetic.parameters_subtraction(vector, mask)
    return arithmetic.parameters_mod(vector, FLOWER_MODULUS)


# ---- secagg.round ----


def _round(quick: bool, peers: bool) -> Case:
    """A whole round in one process: every client and the server, 5 % of the clients lost after stage 1.

    The peer sums the same vectors of the same survivors: the ratio is what privacy costs.
    """
    n, d = (48, 1000) if quick else (1000, 10**5)
    ids = ids_of(n)
    encoding = FixedPoint(16, 2.0**-12, "exact", 1, n, d)
    bits, rng = encoding.modulus_bits, np.random.default_rng(SEED)
    coins = _core.Drbg.insecure_deterministic(_bytes("round")).random_bytes
    vectors = {
        party: encoding.encode(rng.standard_normal(d, dtype=np.float32), 1, rng=coins).astype(np.uint32)
        for party in ids
    }
    lost = frozenset(ids[::20][: n // 20])  # more than the graph is made for may leave a gap in a small ring
    survivors = [vectors[party] for party in ids if party not in lost]
    params = Params(SECAGGPLUS, SEMI_HONEST, (Segment.ring(bits, encoding.length),), 0, n)
    thresholds = params.thresholds(n)
    executor = ThreadPoolExecutor(1)
    state: dict[str, Round] = {}

    def before() -> None:
        state["round"] = Round(params, vectors, lost, executor)

    def ours() -> tuple[Round, Any]:
        return state["round"], state["round"].run()

    def check(result: Any, peer_result: Any) -> None:
        expect(np.array_equal(result[1][0], peer_result), "the secure sum is not the plain sum")

    def report(result: Any, seconds: float) -> dict[str, Any]:
        done: Round = result[0]
        alive = [party for party in ids if party not in lost]
        client, server = {s: v / n for s, v in done.client_s.items()}, done.server_s
        up = float(np.median([done.up[party] for party in alive]))
        down = float(np.median([done.down[party] for party in alive]))
        client_s, server_s = sum(client.values()), sum(server.values())
        rounds = 4
        offline = ("advertise", "share")
        return {
            "bytes_up": int(up),
            "bytes_down": int(down),
            "rounds": rounds,
            "client_s": client_s,
            "server_s": server_s,
            "params": {
                "bytes_per_parameter": float(np.median([done.upload[party] for party in alive])) / d,
                "bytes_up_per_parameter": up / d,
                "client_offline_s": sum(client[s] for s in offline),
                "client_online_s": sum(v for s, v in client.items() if s not in offline),
                "server_offline_s": sum(server[s] for s in offline),
                "server_online_s": sum(v for s, v in server.items() if s not in offline),
                **network_model(client_s + server_s, rounds, up + down),
            },
        }

    return Case(
        ours,
        Peer(versioned("numpy", "NumPy") + " plain sum", lambda: plain_sum(survivors, bits), repeats=9),
        check,
        {
            "n": n,
            "d": d,
            "bits": 16,
            "modulus_bits": bits,
            "neighbours": thresholds.neighbours,
            "threshold": thresholds.threshold,
            "dropouts": len(lost),
            "security_bits": 128,
            "seed": SEED,
        },
        before=before,
        report=report,
        repeats=1,
    )


# ---- secagg.encode ----


def _encode(quick: bool, peers: bool) -> Case:
    """Float32 to 16-bit integers, rounded stochastically: ours by coins from a CSPRNG, Flower's from np.random."""
    d = 10**4 if quick else 10**6
    x = np.random.default_rng(SEED).standard_normal(d, dtype=np.float32)
    encoding = FixedPoint.for_range(8.0, bits=16, clients=1000, entries=d)
    rng = _core.Drbg().random_bytes
    step = 16.0 / (1 << 16)

    def check(result: Any, peer_result: Any) -> None:
        expect(np.abs(result[:d] * encoding.granularity - x).max() < encoding.granularity, "our encoding is off")
        if peer_result is not None:
            expect(np.abs(peer_result[0] * step - 8.0 - x).max() <= step * 1.01, "Flower's encoding is off")

    side = absent("Flower quantize")
    fl = flower() if peers else None
    if fl is not None:
        side = Peer(fl.name + " quantize", lambda: fl.quantization.quantize([x], 8.0, 1 << 16))
    return Case(lambda: encoding.encode(x, 1, rng=rng), side, check, {"d": d, "bits": 16, "seed": SEED}, repeats=15)


SECAGG_ROWS = (
    Row(
        "secagg.keystream.1e7",
        "AES-128-CTR keystream added to 1e7 u32 | `cryptography` AES-CTR, then NumPy add",
        _keystream,
        (Target("ratio", at_least=3.0, levels=("vaes", "avx512")),),
    ),
    Row(
        "secagg.mask.1e6",
        "one neighbour's mask on 1e6 u32 | Flower pseudo_rand_gen, add, mod",
        _mask,
        (Target("ratio", at_least=20.0, levels=("vaes", "avx512")),),
    ),
    Row(
        "secagg.client.1e6x100",
        "masking stage, d = 1e6, 100 neighbours | Flower secaggplus_mod from shared keys to upload",
        _client,
        (Target("ratio", at_least=10.0, levels=("vaes", "avx512")), Target("peak_mb", at_most=16.0)),
        memory=True,
    ),
    Row(
        "secagg.shamir.100x67",
        "share two 32-byte secrets among 100, t = 67, combine both | Flower create_shares, combine_shares",
        _shamir,
        (Target("ratio", at_least=500.0), Target("ours_s", at_most=2e-3)),
    ),
    Row(
        "secagg.server.n50",
        "server's unmasking, n = 50, d = 1e5, 5 lost after stage 1 | Flower SecAggPlusWorkflow",
        _server,
        (Target("ratio", at_least=50.0),),
    ),
    Row(
        "secagg.round.n1000",
        "whole secaggplus round, n = 1000, d = 1e5, 5 % lost | plain sum of the same vectors",
        _round,
        (Target("params.bytes_per_parameter", at_most=3.3),),
        memory=True,
    ),
    Row("secagg.encode.1e6", "1e6 float32 to 16-bit integers | Flower quantize", _encode),
)
