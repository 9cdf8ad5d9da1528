"""Sums by CKKS: exact on the grid, authenticated before SEAL reads anything, refused where they could wrap."""

from __future__ import annotations

import hashlib
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from privcomp.encoding import Layout
from privcomp.errors import (
    CodecError,
    EncodingError,
    ParameterError,
    PrivcompError,
    RemoteError,
    RoundAborted,
    StateError,
)
from privcomp.he import _seal
from privcomp.he.arrays import aggregate, array_params, deserialise, serialise
from privcomp.he.ckks import (
    Aggregate,
    Aggregator,
    CkksParams,
    Decryptor,
    Encryptor,
    PublicKey,
    Session,
    Upload,
)
from privcomp.keys import Identity, Roster
from tests.reference import lattice

CLIENTS = (b"a", b"b", b"c", b"d")
IDENTITIES = {
    name: Identity.from_seed(bytes([number]) * 32)
    for number, name in enumerate((b"holder", b"adder", *CLIENTS), start=1)
}
ROSTER = Roster.of({name: identity.public for name, identity in IDENTITIES.items()})
PARAMS = CkksParams.for_round(length=10, clients=3, magnitude=2.0, precision_bits=24)


def session_of(params: CkksParams = PARAMS, context: bytes = bytes(32)) -> Session:
    return Session(params, context, ROSTER, b"holder", b"adder")


class House:
    """All parties of one session."""

    def __init__(self, params: CkksParams = PARAMS, context: bytes = bytes(32)) -> None:
        self.session = session_of(params, context)
        self.decryptor = Decryptor(self.session, IDENTITIES[b"holder"])

    def encryptor(self, party: bytes = b"a") -> Encryptor:
        return Encryptor(self.session, self.decryptor.public_key, party, IDENTITIES[party])

    def aggregator(self, number: int = 0) -> Aggregator:
        return Aggregator(self.session, self.decryptor.public_key, IDENTITIES[b"adder"], number)

    def upload(self, party: bytes = b"a", number: int = 0, seed: int = 0) -> bytes:
        return self.encryptor(party).encrypt(vector(self.session.params, seed), number)

    def total(self, parties: tuple[bytes, ...] = (b"a", b"b"), number: int = 0) -> bytes:
        aggregator = self.aggregator(number)
        for seed, party in enumerate(parties):
            aggregator.add(self.upload(party, number, seed))
        return aggregator.total()


@pytest.fixture(scope="module")
def house() -> House:
    return House()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes SEAL was given, call by call."""
    seen: list[int] = []
    real = _seal.Engine._load

    def counted(self: _seal.Engine, into: Any, data: bytes, descriptor: int, path: str) -> None:
        seen.append(len(data))
        real(self, into, data, descriptor, path)

    monkeypatch.setattr(_seal.Engine, "_load", counted)
    return seen


def vector(params: CkksParams, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-params.magnitude, params.magnitude, params.length)


def on_grid(values: np.ndarray, params: CkksParams) -> np.ndarray:
    return np.array([round(float(x) * 2**params.precision_bits) for x in values], dtype=object)


# ---- sums


@pytest.mark.parametrize("length", [1, 2, 10, 4095, 4096, 4097, 9000])
def test_a_sum_is_exact_on_the_grid(length: int) -> None:
    params = CkksParams.for_round(length=length, clients=3, magnitude=2.0, precision_bits=24)
    house = House(params)
    expected = sum(on_grid(vector(params, seed), params) for seed in range(3))
    opened = house.decryptor.decode(house.total((b"a", b"b", b"c")), 0)
    assert opened.parties == (b"a", b"b", b"c")
    assert [int(x) for x in opened.values * 2.0**24] == list(expected)
    assert np.abs(opened.values - sum(vector(params, seed) for seed in range(3))).max() <= params.stated_error


def _fits(clients: int, magnitude: float, bits: int) -> bool:
    try:
        CkksParams.for_round(length=1, clients=clients, magnitude=magnitude, precision_bits=bits)
    except ParameterError:
        return False
    return True


@example(clients=2, magnitude=0.25, precision_bits=13, length=1, seed=0)  # little in a large scale
@given(
    clients=st.integers(2, 200),
    magnitude=st.floats(2.0**-10, 2.0**10),
    precision_bits=st.integers(0, 40),
    length=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_whatever_fits_is_exact_at_the_edge_of_its_range(
    clients: int, magnitude: float, precision_bits: int, length: int, seed: int
) -> None:
    """The most clients that the params allow, all with the largest magnitude: added without signatures."""
    fits = [bits for bits in range(precision_bits + 1) if _fits(clients, magnitude, bits)]
    params = CkksParams.for_round(length=length, clients=clients, magnitude=magnitude, precision_bits=fits[-1])
    engine = _seal.engine(params.modulus_bits, params.scale_bits)
    secret, public = engine.keys()
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], length)
    values = signs * params.magnitude
    one = tuple(engine.encrypt(engine.sealer(public), values))
    total = engine.load(one)
    for _ in range(clients - 1):
        engine.add(total, engine.load(one))
    raw = engine.decrypt(secret, total)[:length]
    # One ciphertext n times over: its noise comes n times too, not sqrt(n) times.
    assert np.abs(raw - clients * values).max() <= params.noise_bound * clients**0.5


def test_the_noise_of_a_sum_is_what_the_bound_says() -> None:
    """Mean square of the noise of fresh ciphertexts: N/2 (7 N (X + Y) + 10.5), and X + Y is 2 on average."""
    engine = _seal.engine(60, 40)
    secret, public = engine.keys()
    sealer = engine.sealer(public)
    zeros = np.zeros(_seal.VALUES)
    noise = np.stack([engine.decrypt(secret, engine.load(tuple(engine.encrypt(sealer, zeros)))) for _ in range(30)])
    units = noise * engine.scale
    expected = _seal.DEGREE / 2 * (7 * _seal.DEGREE * 2 + 10.5)
    # |e(z)|^2 and |s(z)|^2 are of one key: 4,096 draws of an exponential law, relative error 1 / sqrt(2 * 2048).
    assert abs((units**2).mean() / expected - 1) < 0.15
    bound = CkksParams(1, 2, 2, 1.0, 10, 40, 60)
    assert np.abs(noise).max() < bound.noise_bound


def test_the_holder_encrypts_with_its_own_key(house: House) -> None:
    aggregator = house.aggregator(7)
    values = vector(PARAMS, 5)
    aggregator.add(house.decryptor.own_encryptor().encrypt(values, 7))
    aggregator.add(house.upload(b"a", 7, 6))
    opened = house.decryptor.decode(aggregator.total(), 7)
    expected = on_grid(values, PARAMS) + on_grid(vector(PARAMS, 6), PARAMS)
    assert [int(x) for x in opened.values * 2.0**24] == list(expected)


def test_pieces_are_the_message_and_the_message_is_canonical(house: House) -> None:
    pieces = list(house.encryptor().encrypt_blocks(vector(PARAMS, 0), 3))
    data = b"".join(pieces)
    assert Upload.from_bytes(data, max_bytes=PARAMS.upload_max_bytes).to_bytes() == data
    assert max(map(len, pieces)) <= _seal.BLOB_MAX_BYTES + 4
    total = house.total(number=3)
    assert Aggregate.from_bytes(total, max_bytes=PARAMS.upload_max_bytes).to_bytes() == total
    key = house.decryptor.public_key
    assert PublicKey.from_bytes(key, max_bytes=len(key)).to_bytes() == key


def test_no_upload_of_one_vector_equals_another(house: House) -> None:
    assert house.upload() != house.upload()


def test_inputs_are_not_written_to(house: House) -> None:
    values = vector(PARAMS, 1).astype(np.float32)
    before = values.copy()
    values.setflags(write=False)
    house.encryptor().encrypt(values, 0)
    house.encryptor().encrypt(np.repeat(values, 2)[::2], 0)
    assert (values == before).all()


# ---- parameters


def test_a_sum_that_could_wrap_is_refused_at_set_up() -> None:
    """6 clients with 1e5 at scale 2^40 and 60 bits wrap to -448,576 where nobody checks."""
    with pytest.raises(ParameterError, match="could wrap"):
        CkksParams(10, 6, 2, 1e5, 8, 40, 60)
    engine = _seal.engine(60, 40)
    secret, public = engine.keys()
    one = tuple(engine.encrypt(engine.sealer(public), np.full(_seal.VALUES, 1e5)))
    total = engine.load(one)
    for _ in range(5):
        engine.add(total, engine.load(one))
    assert round(engine.decrypt(secret, total)[0]) == -448_576
    fitting = CkksParams.for_round(length=10, clients=6, magnitude=1e5, precision_bits=12)
    assert fitting.modulus_bits <= 60


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("length", 0),
        ("length", 2**33),
        ("clients", 1),
        ("clients", 2**21),
        ("clients", True),
        ("min_clients", 1),
        ("min_clients", 4),
        ("magnitude", 0.0),
        ("magnitude", float("nan")),
        ("magnitude", float("inf")),
        ("magnitude", 2),
        ("magnitude", 2.0 + 2.0**-40),
        ("precision_bits", 53),
        ("precision_bits", 40),
        ("scale_bits", 30),
        ("scale_bits", 60),
        ("modulus_bits", 61),
        ("modulus_bits", 48),
    ],
)
def test_params_refuse_what_does_not_add_up(field: str, value: object) -> None:
    with pytest.raises(ParameterError):
        replace(PARAMS, **{field: value})


def test_for_round_takes_the_least_chain() -> None:
    for params in (PARAMS, CkksParams.for_round(length=1, clients=100, magnitude=0.3, precision_bits=20)):
        with pytest.raises(ParameterError, match="noise"):
            replace(params, scale_bits=params.scale_bits - 1)
        with pytest.raises(ParameterError, match="wrap"):
            replace(params, modulus_bits=params.modulus_bits - 1)
        assert CkksParams.from_bytes(params.to_bytes(), max_bytes=200) == params


@pytest.mark.parametrize("magnitude", [0, -1.0, float("nan"), "1", True])
def test_for_round_refuses_what_is_no_magnitude(magnitude: Any) -> None:
    with pytest.raises(ParameterError):
        CkksParams.for_round(length=1, clients=2, magnitude=magnitude, precision_bits=8)


def test_seal_itself_refuses_a_chain_below_192_bits() -> None:
    seal = _seal._sealapi()
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(_seal.DEGREE)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(_seal.DEGREE, [40, 40]))
    assert not seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC192).parameters_set()
    assert PARAMS.security == 192


def test_the_largest_chain_has_192_bits_by_an_independent_estimate() -> None:
    """Uniform ternary secrets have width sqrt(2/3); errors (3.24) that are as small make the instance easier."""
    instance = lattice.Lwe(_seal.DEGREE, 60.0, math.sqrt(2 / 3))
    for attack in (lattice.primal_usvp, lattice.primal_bdd, lattice.dual, lattice.core_svp):
        assert attack(instance).bits > PARAMS.security
    smaller = lattice.Lwe(_seal.DEGREE // 2, 54.0, math.sqrt(2 / 3))
    assert lattice.primal_bdd(smaller).bits < 128


def test_without_tenseal_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['tenseal'] = None\n"
        "from privcomp.he import _seal\n"
        "from privcomp.errors import LocalError\n"
        "try: _seal.engine(50, 40)\n"
        "except LocalError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'privcomp[he]'" in shown


# ---- roles


def test_the_key_holder_is_not_the_aggregator() -> None:
    with pytest.raises(ParameterError, match="must not be the aggregator"):
        Session(PARAMS, bytes(32), ROSTER, b"holder", b"holder")
    with pytest.raises(ParameterError, match="does not name"):
        Session(PARAMS, bytes(32), ROSTER, b"nobody", b"adder")
    with pytest.raises(ParameterError, match="32 bytes"):
        Session(PARAMS, b"short", ROSTER, b"holder", b"adder")


def test_only_the_decryptor_has_a_way_to_decrypt(house: House) -> None:
    assert not [name for role in (Encryptor, Aggregator) for name in dir(role) if "decr" in name or "deco" in name]
    assert not hasattr(house.encryptor(), "_secret")
    assert not hasattr(house.aggregator(), "_secret")


def test_nobody_acts_under_another_identity(house: House) -> None:
    key = house.decryptor.public_key
    with pytest.raises(ParameterError, match="identity"):
        Encryptor(house.session, key, b"a", IDENTITIES[b"b"])
    with pytest.raises(ParameterError, match="identity"):
        Aggregator(house.session, key, IDENTITIES[b"holder"], 0)
    with pytest.raises(ParameterError, match="identity"):
        Decryptor(house.session, IDENTITIES[b"adder"])
    with pytest.raises(ParameterError, match="does not name"):
        Encryptor(house.session, key, b"nobody", IDENTITIES[b"b"])


def test_secrets_do_not_print_and_are_not_pickled(house: House) -> None:
    assert repr(house.decryptor) == "Decryptor(<redacted>)"
    assert "redacted" in repr(house.encryptor()._sealer)
    for role in (house.decryptor, house.encryptor()):
        with pytest.raises(ParameterError, match="not pickled"):
            role.__reduce__()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(9),
        np.zeros((10, 1)),
        np.zeros(10, np.float16),
        np.zeros(10, np.int64),
        np.zeros(10, ">f8"),
        np.full(10, np.nan),
        np.full(10, np.inf),
        np.full(10, -np.inf),
        np.array([0.0] * 9 + [np.nan]),
        np.array([0.0] * 9 + [2.0000001]),
        [0.0] * 10,
        None,
    ],
)
def test_what_is_no_vector_of_the_round_is_not_encrypted(house: House, values: Any) -> None:
    encryptor = house.encryptor()
    with pytest.raises(EncodingError):
        encryptor.encrypt(values, 0)
    encryptor.encrypt(vector(PARAMS, 0), 0)  # the round has not been used up


def test_a_client_answers_a_round_once(house: House) -> None:
    encryptor = house.encryptor()
    encryptor.encrypt(vector(PARAMS, 0), 5)
    for number in (5, 4):
        with pytest.raises(StateError, match="answered"):
            encryptor.encrypt(vector(PARAMS, 1), number)
    encryptor.encrypt(vector(PARAMS, 1), 6)
    for number in (-1, 2**63, 1.0):
        with pytest.raises(ParameterError, match="round_number"):
            encryptor.encrypt(vector(PARAMS, 1), number)  # type: ignore[arg-type]


# ---- what comes from outside


def refused(house: House, data: bytes, error: type[PrivcompError] = RemoteError, number: int = 0) -> str:
    """The refusal of an upload, after which the sum goes on as if nothing had come."""
    aggregator = house.aggregator(number)
    with pytest.raises(error) as caught:
        aggregator.add(data)
    assert aggregator.parties == ()
    return str(caught.value)


def test_foreign_messages_are_refused_before_seal_reads_them(parsed: list[int]) -> None:
    house, other = House(), House()
    wider = House(replace(PARAMS, length=11))
    elsewhere = House(context=b"\x01" * 32)
    uploads = [other.upload(), wider.upload(), elsewhere.upload(), house.upload(number=1)]
    for role in (house, other, wider, elsewhere):
        role.aggregator()
    parsed.clear()
    assert "another public key" in refused(house, uploads[0])
    assert "another session" in refused(house, uploads[1])
    assert "another session" in refused(house, uploads[2])
    assert "another round" in refused(house, uploads[3])
    for key in (wider.decryptor.public_key, elsewhere.decryptor.public_key):
        with pytest.raises(RemoteError, match="another session"):
            Encryptor(house.session, key, b"a", IDENTITIES[b"a"])
    assert parsed == []


def test_a_client_is_counted_once_and_the_budget_holds(house: House) -> None:
    aggregator = house.aggregator()
    first = house.upload(b"a")
    assert aggregator.add(first) == b"a"
    for again in (first, house.upload(b"a", seed=4)):
        with pytest.raises(RemoteError, match="second upload"):
            aggregator.add(again)
    aggregator.add(house.upload(b"b"))
    aggregator.add(house.upload(b"c"))
    with pytest.raises(RemoteError, match="the most that cannot wrap"):
        aggregator.add(house.upload(b"d"))
    assert aggregator.parties == (b"a", b"b", b"c")
    opened = house.decryptor.decode(aggregator.total(), 0)
    assert [int(x) for x in opened.values * 2.0**24] == list(3 * on_grid(vector(PARAMS, 0), PARAMS))
    with pytest.raises(StateError, match="taken"):
        aggregator.add(house.upload(b"d"))
    with pytest.raises(StateError, match="taken"):
        aggregator.total()


def test_too_few_clients_are_not_summed(house: House) -> None:
    aggregator = house.aggregator()
    aggregator.add(house.upload())
    with pytest.raises(StateError, match="at least 2"):
        aggregator.total()


def resigned(message: Upload | Aggregate, signer: bytes, stage: str, **changes: Any) -> bytes:
    body = replace(message, **changes).to_bytes()[:-64]
    return body + IDENTITIES[signer].sign(f"privcomp-ckks/{stage}", hashlib.sha256(body).digest())


def test_who_signs_is_who_sends(house: House, parsed: list[int]) -> None:
    upload = Upload.from_bytes(house.upload(), max_bytes=PARAMS.upload_max_bytes)
    house.aggregator()
    parsed.clear()
    assert "signature" in refused(house, resigned(upload, b"a", "upload", party=b"b"))
    assert "signature" in refused(house, resigned(upload, b"b", "upload"))
    assert "signature" in refused(house, resigned(upload, b"a", "aggregate"))
    assert "does not name" in refused(house, resigned(upload, b"a", "upload", party=b"x"))
    assert "ciphertexts" in refused(house, resigned(upload, b"a", "upload", blocks=()))
    assert "at most" in refused(house, resigned(upload, b"a", "upload", blocks=upload.blocks * 2))
    assert "2 ciphertexts" in refused(house, resigned(upload, b"a", "upload", blocks=(b"", b"")))
    assert parsed == []


def test_an_upload_that_cancels_the_sum_is_refused_whole() -> None:
    house = House(CkksParams.for_round(length=5000, clients=3, magnitude=2.0, precision_bits=24))
    first, engine = house.upload(b"a"), _seal.engine(house.session.params.modulus_bits, house.session.params.scale_bits)
    parsed = Upload.from_bytes(first, max_bytes=len(first))
    negative = engine.load(parsed.blocks)
    engine._evaluator.negate_inplace(negative[1])
    whole = engine.load(house_blocks(house, b"b"))
    blocks = engine.save([whole[0], negative[1]])
    unsigned = replace(parsed, party=b"b", blocks=blocks).to_bytes()[:-64]
    forged = unsigned + IDENTITIES[b"b"].sign("privcomp-ckks/upload", hashlib.sha256(unsigned).digest())
    aggregator = house.aggregator()
    aggregator.add(first)
    with pytest.raises(CodecError, match="refuses the sum") as caught:
        aggregator.add(forged)
    assert caught.value.party == b"b"
    assert aggregator.parties == (b"a",)
    aggregator.add(house.upload(b"c", seed=1))
    opened = house.decryptor.decode(aggregator.total(), 0)
    grid = sum(np.rint(vector(house.session.params, seed) * 2.0**24) for seed in (0, 1)) / 2.0**24
    assert opened.parties == (b"a", b"c")
    assert (opened.values == grid).all()


def house_blocks(house: House, party: bytes) -> tuple[bytes, ...]:
    """SEAL's blobs in an honest upload."""
    data = house.upload(party, seed=2)
    return Upload.from_bytes(data, max_bytes=len(data)).blocks


def test_a_signed_blob_that_is_no_ciphertext_of_the_chain_is_refused_whole(house: House) -> None:
    upload = Upload.from_bytes(house.upload(), max_bytes=PARAMS.upload_max_bytes)
    blob = upload.blocks[0]
    wrong_scale = _seal.engine(PARAMS.modulus_bits, PARAMS.scale_bits + 1)
    wrong_chain = _seal.engine(PARAMS.modulus_bits + 1, PARAMS.scale_bits)
    values = np.zeros(10)
    foreign = [next(iter(made.encrypt(made.sealer(made.keys()[1]), values))) for made in (wrong_scale, wrong_chain)]
    cases = {
        "header": [b"", b"x" * 100, blob[:-1], blob + b"\0", blob[:8] + bytes(8) + blob[16:]],
        "SEAL refuses": [
            foreign[1],
            blob[:16] + bytes(len(blob) - 16),
        ],
        "another size, chain or scale": [foreign[0]],
    }
    for text, blobs in cases.items():
        for hostile in blobs:
            assert text in refused(house, resigned(upload, b"a", "upload", blocks=(hostile,)), CodecError)


def mutants(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Flips, overwritten, removed, doubled and inserted bytes, cuts and joints, all over the message and its ends."""
    rng = random.Random(seed)
    made = 0
    while made < count:
        kind = rng.randrange(7)
        # Half of them in the first and last 200 bytes, where what is not ciphertext stands.
        at = rng.choice((rng.randrange(len(data)), rng.randrange(200), len(data) - 1 - rng.randrange(200)))
        changed = bytearray(data)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + 8] = rng.randbytes(min(8, len(data) - at))
        elif kind == 2:
            del changed[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            changed[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 4:
            changed = changed[:at]
        elif kind == 5:
            other = rng.randrange(len(data))
            changed[at], changed[other] = changed[other], changed[at]
        else:
            changed[at : at + 8] = (rng.choice((0, 1, 2**31, 2**32 - 1, 2**64 - 1))).to_bytes(8, "little")
        if bytes(changed) != data:
            made += 1
            yield bytes(changed)


def mutate_all(house: House, count: int, parsed: list[int], seed: int) -> None:
    upload, total = house.upload(b"a"), house.total()
    aggregator = house.aggregator()
    decryptor = house.decryptor
    key = decryptor.public_key
    parsed.clear()
    for number, changed in enumerate(mutants(upload, count, seed)):
        with pytest.raises(RemoteError):
            aggregator.add(changed)
        if number % 10 == 0:
            assert aggregator.parties == ()
    for changed in mutants(total, count // 2, seed + 1):
        with pytest.raises(RemoteError):
            decryptor.decode(changed, 0)
    for changed in mutants(key, count // 10, seed + 2):
        with pytest.raises(RemoteError):
            house.session.public_key(changed)
    assert parsed == []
    aggregator.add(upload)  # it was not the setting
    assert decryptor.decode(total, 0).parties == (b"a", b"b")
    assert len(parsed) == 2


def test_mutated_messages_are_refused_and_never_reach_seal(parsed: list[int]) -> None:
    mutate_all(House(), 1300, parsed, 1)


@pytest.mark.assurance
def test_a_hundred_thousand_mutations_never_reach_seal(parsed: list[int]) -> None:
    mutate_all(House(), 65_000, parsed, 2)


def test_a_declared_count_allocates_nothing(house: House) -> None:
    head = house.upload()[:77]
    for tail in (b"\xff\xff\xff\x7f", b"\xff\xff\x0f\x00"):
        refused(house, head + tail, CodecError)


# ---- the key holder


def test_a_round_has_one_sum(house: House) -> None:
    first, second = house.total(number=20), house.total((b"a", b"c"), 20)
    opened = house.decryptor.decode(first, 20)
    with pytest.raises(StateError, match="another sum"):
        house.decryptor.decode(second, 20)
    with pytest.raises(StateError, match="another sum"):
        house.decryptor.decrypt_raw(second, 20)
    assert (house.decryptor.decode(first, 20).values == opened.values).all()
    with pytest.raises(RemoteError, match="another round"):
        house.decryptor.decode(first, 21)


def test_an_aggregate_names_enough_known_clients(house: House, parsed: list[int]) -> None:
    message = Aggregate.from_bytes(house.total(number=30), max_bytes=PARAMS.upload_max_bytes)
    parsed.clear()
    for parties, text in (
        ((b"a",), "1 clients"),
        ((b"a", b"b", b"c", b"d"), "4 clients"),
        ((b"a", b"x"), "does not name"),
    ):
        with pytest.raises(RemoteError, match=text):
            house.decryptor.decode(resigned(message, b"adder", "aggregate", parties=parties), 30)
    with pytest.raises(RemoteError, match="signature"):
        house.decryptor.decode(resigned(message, b"a", "aggregate"), 30)
    assert parsed == []


def off_the_grid(house: House, number: int, offset: float) -> bytes:
    """An aggregate of two clients, one of whom encrypted what `Encryptor` would not."""
    engine = _seal.engine(PARAMS.modulus_bits, PARAMS.scale_bits)
    key = house.session.public_key(house.decryptor.public_key)
    blobs = tuple(engine.encrypt(engine.sealer(key.key), np.full(10, offset)))
    upload = Upload.from_bytes(house.upload(number=number), max_bytes=PARAMS.upload_max_bytes)
    aggregator = house.aggregator(number)
    aggregator.add(resigned(upload, b"a", "upload", blocks=blobs))
    aggregator.add(house.upload(b"b", number))
    return aggregator.total()


@pytest.mark.parametrize("offset", [0.4 * PARAMS.step, 0.5 * PARAMS.step, 5.0, 100.0])
def test_a_sum_off_the_grid_or_out_of_range_is_not_released_and_ends_the_key(offset: float) -> None:
    house = House()
    good = house.total(number=0)
    with pytest.raises(RoundAborted, match="nothing is released"):
        house.decryptor.decode(off_the_grid(house, 1, offset), 1)
    with pytest.raises(StateError, match="new session"):
        house.decryptor.decode(good, 0)


def key_from_a_release(total: bytes, released: np.ndarray) -> list[int]:
    """Li and Micciancio: from an aggregate and what was released, the key in SEAL's transformed domain."""
    seal = _seal._sealapi()
    engine = _seal.engine(PARAMS.modulus_bits, PARAMS.scale_bits)
    message = Aggregate.from_bytes(total, max_bytes=PARAMS.upload_max_bytes)
    (cipher,) = engine.load(message.blocks)
    plain = seal.Plaintext()
    engine._encoder.encode(released.view(np.complex128).tolist(), engine.scale, plain)
    n, q = _seal.DEGREE, engine.modulus
    return [(plain[i] - cipher[i]) * pow(cipher[n + i], -1, q) % q for i in range(n)]


def test_raw_decryptions_give_the_key_away_and_rounded_ones_do_not() -> None:
    params = CkksParams.for_round(length=_seal.VALUES, clients=3, magnitude=2.0, precision_bits=24)
    assert (params.modulus_bits, params.scale_bits) == (PARAMS.modulus_bits, PARAMS.scale_bits)
    house = House(params)
    total = house.total()
    raw, rounded = house.decryptor.decrypt_raw(total, 0), house.decryptor.decode(total, 0).values
    assert np.abs(raw - rounded).max() < params.noise_bound < params.step / 2

    secret = house.decryptor._secret.data()
    truth = [secret[i] for i in range(_seal.DEGREE)]
    from_raw, from_rounded = (
        sum(found == true for found, true in zip(key_from_a_release(total, shown), truth, strict=True))
        for shown in (raw, rounded)
    )
    assert from_raw > 0.9 * _seal.DEGREE
    assert from_rounded < 0.01 * _seal.DEGREE


# ---- named arrays

LAYOUT = Layout((("w", "float32", (3, 4)), ("b", "float64", (5,))))


def arrays_of(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {"w": generator.uniform(-1, 1, (3, 4)).astype(np.float32), "b": generator.uniform(-1, 1, 5)}


def test_weighted_mean_of_named_arrays() -> None:
    params = array_params(LAYOUT, clients=3, limit=1.0, max_weight=1000, precision_bits=24)
    house = House(params)
    weights = {b"a": 1, b"b": 1000, b"c": 37}
    uploads = [
        serialise(house.encryptor(party), LAYOUT, arrays_of(seed), weight, 0, max_weight=1000)
        for seed, (party, weight) in enumerate(weights.items())
    ]
    data = aggregate(house.session, house.decryptor.public_key, IDENTITIES[b"adder"], uploads, 0)
    mean, total = deserialise(house.decryptor, LAYOUT, data, 0, max_weight=1000)
    assert total == 1038
    for name in ("w", "b"):
        exact = sum(w * arrays_of(seed)[name] for seed, w in enumerate(weights.values())) / 1038
        assert mean[name].dtype == arrays_of(0)[name].dtype
        assert mean[name].shape == exact.shape
        bound = 3 / (2 * 1038) * 2.0 ** (10 - 24)
        assert np.abs(mean[name] - exact).max() <= bound + (2.0**-23 if name == "w" else 0)


def test_named_arrays_refuse_weights_out_of_range() -> None:
    with pytest.raises(ParameterError, match="max_weight"):
        array_params(LAYOUT, clients=3, limit=1.0, max_weight=2**25, precision_bits=24)
    house = House(array_params(LAYOUT, clients=3, limit=1.0, max_weight=8))
    for weight in (0, -1, 9, 1.0, True):
        with pytest.raises(EncodingError, match="weight"):
            serialise(house.encryptor(), LAYOUT, arrays_of(0), weight, 0, max_weight=8)  # type: ignore[arg-type]
    # A step of 2^-4 would round the weight 100 of 1,000 to 128.
    coarse = House(array_params(LAYOUT, clients=3, limit=1.0, precision_bits=4))
    total = coarse.total()
    for most in (17, 1000, 0, 16.0):
        with pytest.raises(ParameterError, match="max_weight"):
            serialise(coarse.encryptor(), LAYOUT, arrays_of(0), 1, 0, max_weight=most)  # type: ignore[arg-type]
        with pytest.raises(ParameterError, match="max_weight"):
            deserialise(coarse.decryptor, LAYOUT, total, 0, max_weight=most)  # type: ignore[arg-type]
    # Two clients that encrypt a weight of 0 by hand, and whose mean would divide by it.
    aggregator = house.aggregator()
    for party in (b"a", b"b"):
        aggregator.add(house.encryptor(party).encrypt(np.zeros(18), 0))
    with pytest.raises(RoundAborted, match="weights"):
        deserialise(house.decryptor, LAYOUT, aggregator.total(), 0, max_weight=8)
