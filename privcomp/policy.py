"""What this node allows: limits that protect a client come from its own policy, never from the server."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import Any

from privcomp.errors import ParameterError, PolicyError

__all__ = ["DEFAULT_PURPOSES", "CommitteePolicy", "Policy"]

DEFAULT_PURPOSES = ("training", "evaluation", "statistics", "scales")
_PPM = 1_000_000


@dataclass(frozen=True)
class CommitteePolicy:
    """Which committees may hold this node's keys in one-shot rounds, and what else it allows of them.

    Nothing is allowed by default: name the members of a committee, a key-holder, or the beacon of a sampled one.

    Args:
        members: (id, Ed25519 key of 32 bytes) of the named committee, in order; empty: no named committee.
        privacy_min: least t_p of the named committee: how many of its members may be corrupt; None: a third of the c
            members that are named, max(1, (c - 1) // 3).
        key_holder: (id, key) of a single key-holder, or None. It and the server together could open this node's update.
        beacon: 1..64 bytes with which committees are drawn from the roster, one per signed roster; empty: none are.
        bits_max: most bits of a value.
        weight_max: largest weight that a round may provide for.
        security_min: least estimated bits of the ring (gate count of the best attack).
        survivors_min: least number of clients in a sum, in place of half of the roster (small samples of a large roster
            need that); the count of corrupt clients and `honest_survivors_min` still hold.
        delivery_bytes_max: as a member, most bytes of shares that this node takes in a round.

    Raises:
        ParameterError: a limit is outside of what makes sense.
    """

    members: tuple[tuple[bytes, bytes], ...] = ()
    privacy_min: int | None = None
    key_holder: tuple[bytes, bytes] | None = None
    beacon: bytes = b""
    bits_max: int = 32
    weight_max: int = 1 << 20
    security_min: float = 128.0
    survivors_min: int | None = None
    delivery_bytes_max: int = 1 << 28

    def __post_init__(self) -> None:
        listed = (*self.members, *((self.key_holder,) if self.key_holder is not None else ()))
        if not all(type(i) is bytes and type(k) is bytes and 1 <= len(i) <= 64 and len(k) == 32 for i, k in listed):
            raise ParameterError("policy: a member of a committee is (id of 1..64 bytes, Ed25519 key of 32 bytes)")
        if self.privacy_min is not None and self.privacy_min < 1:
            raise ParameterError("policy: privacy_min < 1 would let every single member read every key")
        if self.survivors_min is not None and self.survivors_min < 2:
            raise ParameterError("policy: survivors_min < 2 would release a single client's update")
        if self.security_min < 128:
            raise ParameterError("policy: security_min is at least 128 bits")
        if type(self.beacon) is not bytes or len(self.beacon) > 64:
            raise ParameterError("policy: beacon is at most 64 bytes")
        if min(self.bits_max, self.weight_max, self.delivery_bytes_max) < 1:
            raise ParameterError("policy: bits_max, weight_max and delivery_bytes_max are at least 1")

    @property
    def privacy_least(self) -> int:
        """Least t_p of the named committee."""
        return self.privacy_min if self.privacy_min is not None else max(1, (len(self.members) - 1) // 3)


#: NumPy's integers wrap where these are multiplied, and NaN compares with nothing.
_WHOLE = (
    "threshold_min",
    "clients_min",
    "clients_max",
    "honest_survivors_min",
    "gamma_ppm",
    "delta_ppm",
    "open_rounds_max",
    "entries_max",
    "attachment_max",
    "attestation_values_max",
)


@dataclass(frozen=True)
class Policy:
    """Limits of one node. The defaults are the strict ones.

    Args:
        protocols: protocols that may be asked for.
        adversary: "malicious" (default) refuses sessions that trust the server; "semi_honest" allows both.
        corrupt: c, corrupt clients of the whole roster to withstand; None: ceil(|roster| / 3) - 1 against a malicious
            server, 0 against a semi-honest one.
        threshold_min: least threshold t.
        clients_min, clients_max: bounds on n = |U1|.
        honest_survivors_min: least |U| - c for which shares are released; at least 2.
        purposes: closed list of purposes.
        gamma_ppm, delta_ppm: corrupt and vanishing fractions that a sparse graph must withstand, in millionths.
        same_model_reentries: releases on an unchanged model beyond the first one, per purpose (default 0).
        ciphers: mask ciphers (1 AES-128-CTR, 2 ChaCha20).
        require_hybrid: refuse sessions without ML-KEM-768.
        open_rounds_max: rounds whose secrets, or one-shot uploads, are kept at the same time; the oldest unfinished one
            is given up (by a member of a committee: of those that came least far).
        entries_max: most vector entries of an upload.
        attachment_max: most bytes of an upload's attachment.
        attestation: "any", or "required": refuse rounds in which updates are not proven bounded.
        attestation_values_max: most values that an entry may have in what an attested round states; time and memory of
            the proof grow with it.
        privacy: "any", or "required": refuse rounds without a plan of differential privacy.
        privacy_unit: what "required" asks for: "user" (this node's whole contribution is hidden) or "record" (one
            record of it is).
        privacy_adjacency: what "required" asks for: "zero_out" (the unit counts as zero) or "replace_one" (any other in
            its place). Budgets of the two cannot be added, so a server that could choose would have two.
        epsilon_max: the most that this node's own journal lets all its rounds with a plan spend together (of one unit
            and adjacency), measured at `delta_max`; at most 256.
        delta_max: delta at which epsilon_max is measured, between 0 and 1.
        roster_hash: pinned hash of the roster, or None (the roster that the node was built with is the pin).
        ledger_key: Ed25519 key of the ledger that this node follows, or None.
        code_hashes: SHA-256 hashes (32 bytes each) of code that a framework may bring to this node and run there; a
            launcher checks them before it starts any. Empty: none may.
        committee: which committees may hold this node's keys in one-shot rounds; by default none may.

    Raises:
        ParameterError: a limit is outside of what makes sense.
    """

    protocols: tuple[str, ...] = ("bonawitz", "secaggplus")
    adversary: str = "malicious"
    corrupt: int | None = None
    threshold_min: int = 2
    clients_min: int = 3
    clients_max: int = 1 << 20
    honest_survivors_min: int = 3
    purposes: tuple[str, ...] = DEFAULT_PURPOSES
    gamma_ppm: int = 50_000
    delta_ppm: int = 50_000
    same_model_reentries: tuple[tuple[str, int], ...] = ()
    ciphers: tuple[int, ...] = (1, 2)
    require_hybrid: bool = False
    open_rounds_max: int = 8
    entries_max: int = 1 << 32
    attachment_max: int = 1 << 26
    attestation: str = "any"
    attestation_values_max: int = 1 << 20
    privacy: str = "any"
    privacy_unit: str = "user"
    privacy_adjacency: str = "zero_out"
    epsilon_max: float = 8.0
    delta_max: float = 1e-5
    roster_hash: bytes | None = None
    ledger_key: bytes | None = None
    code_hashes: tuple[bytes, ...] = ()
    committee: CommitteePolicy = CommitteePolicy()

    def __post_init__(self) -> None:
        if self.adversary not in ("malicious", "semi_honest"):
            raise ParameterError(f"policy: adversary {self.adversary!r}: allowed are 'malicious' and 'semi_honest'")
        if self.corrupt is not None and (type(self.corrupt) is not int or self.corrupt < 0):
            raise ParameterError(f"policy: corrupt is {self.corrupt!r}; it must be an integer >= 0, or left out")
        for name in _WHOLE:
            if type(getattr(self, name)) is not int:
                raise ParameterError(f"policy: {name} is {getattr(self, name)!r}; it must be an integer")
        for name, kind in (("protocols", str), ("purposes", str), ("ciphers", int)):
            if not all(type(item) is kind for item in getattr(self, name)):
                raise ParameterError(f"policy: every entry of {name} must be a {kind.__name__}")
        if not all(type(purpose) is str and type(count) is int for purpose, count in self.same_model_reentries):
            raise ParameterError("policy: same_model_reentries maps purposes to whole numbers")
        if self.honest_survivors_min < 2:
            raise ParameterError("policy: honest_survivors_min < 2 would release a single client's update")
        if self.threshold_min < 2 or not 3 <= self.clients_min <= self.clients_max:
            raise ParameterError("policy: needs threshold_min >= 2 and 3 <= clients_min <= clients_max")
        if min(self.gamma_ppm, self.delta_ppm) < 0 or self.gamma_ppm + self.delta_ppm > _PPM // 2:
            raise ParameterError("policy: gamma and delta must not be negative, and their sum not above 0.5")
        if self.attestation not in ("any", "required"):
            raise ParameterError(f"policy: attestation {self.attestation!r}: allowed are 'any' and 'required'")
        if self.privacy not in ("any", "required"):
            raise ParameterError(f"policy: privacy {self.privacy!r}: allowed are 'any' and 'required'")
        if self.privacy_unit not in ("user", "record"):
            raise ParameterError(f"policy: privacy_unit {self.privacy_unit!r}: allowed are 'user' and 'record'")
        if self.privacy_adjacency not in ("zero_out", "replace_one"):
            raise ParameterError(
                f"policy: privacy_adjacency {self.privacy_adjacency!r}: allowed are 'zero_out' and 'replace_one'"
            )
        for name in ("epsilon_max", "delta_max"):
            limit: object = getattr(self, name)
            if isinstance(limit, bool) or not isinstance(limit, (int, float)):
                raise ParameterError(f"policy: {name} must be a number, not {limit!r}")
        if not 0 < self.delta_max < 1 or not 0 < self.epsilon_max <= 256:
            raise ParameterError("policy: needs 0 < epsilon_max <= 256 and 0 < delta_max < 1")
        object.__setattr__(self, "epsilon_max", float(self.epsilon_max))
        object.__setattr__(self, "delta_max", float(self.delta_max))
        if self.open_rounds_max < 1:
            raise ParameterError("policy: open_rounds_max must be at least 1")
        if any(count < 0 for _, count in self.same_model_reentries):
            raise ParameterError("policy: same_model_reentries must not be negative")
        for name in ("roster_hash", "ledger_key"):
            value = getattr(self, name)
            if value is not None and len(value) != 32:
                raise ParameterError(f"policy: {name} must be 32 bytes")
        if not all(type(value) is bytes and len(value) == 32 for value in self.code_hashes):
            raise ParameterError("policy: every entry of code_hashes must be 32 bytes (64 hexadecimal digits)")

    def corrupt_for(self, adversary: str, roster_size: int) -> int:
        """c of this policy: explicit, else ceil(|roster| / 3) - 1 (malicious) or 0 (semi-honest)."""
        if self.corrupt is not None:
            return self.corrupt
        return max(0, -(-roster_size // 3) - 1) if adversary == "malicious" else 0

    def reentries(self, purpose: str) -> int:
        """Further releases on an unchanged model that this node grants for a purpose."""
        return dict(self.same_model_reentries).get(purpose, 0)

    def require(self, condition: bool, seen: str, allowed: str) -> None:
        """Raise PolicyError with what was asked and what is allowed, unless the condition holds."""
        if not condition:
            raise PolicyError(f"refused by this node's policy: {seen}; allowed: {allowed}")

    @classmethod
    def from_toml(cls, text: str) -> Policy:
        """Read a policy file. Byte values are hex; unknown keys are refused, so that a typing error cannot weaken it.

        Raises:
            ParameterError: not TOML, an unknown key, a wrong type or a value out of range.
        """
        try:
            table: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ParameterError(f"policy file: {error}") from None
        known = {f.name for f in fields(cls)} - {"gamma_ppm", "delta_ppm"} | {"gamma", "delta"}
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in known:
                raise ParameterError(f"policy file: unknown key {key!r}; known: {', '.join(sorted(known))}")
            try:
                if key in ("gamma", "delta"):
                    values[key + "_ppm"] = round(float(value) * _PPM)
                elif key in ("roster_hash", "ledger_key"):
                    values[key] = bytes.fromhex(value)
                elif key in ("epsilon_max", "delta_max"):
                    values[key] = float(value)
                elif key == "committee":
                    values[key] = _committee(value)
                elif key == "code_hashes" and isinstance(value, list):
                    values[key] = tuple(bytes.fromhex(item) for item in value)
                elif key == "same_model_reentries":
                    values[key] = tuple(sorted(value.items()))
                elif isinstance(value, list):
                    values[key] = tuple(value)
                else:
                    values[key] = value
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                raise ParameterError(f"policy file: {key}: {error}") from None
            default = getattr(cls, key, None)
            if default is not None and type(values[key]) is not type(default):
                kind = "list" if isinstance(default, tuple) else type(default).__name__
                raise ParameterError(f"policy file: {key} must be a {kind}, not {value!r}")
        return cls(**values)

    @staticmethod
    def default_toml() -> str:
        """A commented policy file with the defaults."""
        return _DEFAULT_TOML


def _committee(table: dict[str, Any]) -> CommitteePolicy:
    """The table [committee] of a policy file: ids as text, keys and beacon as hex."""
    known = {f.name for f in fields(CommitteePolicy)}
    values = dict(table)
    for key in values:
        if key not in known:
            raise ValueError(f"unknown key {key!r}; known: {', '.join(sorted(known))}")
    if "members" in values:
        values["members"] = tuple(_member(entry) for entry in values["members"])
    if "key_holder" in values:
        values["key_holder"] = _member(values["key_holder"])
    if "beacon" in values:
        values["beacon"] = bytes.fromhex(values["beacon"])
    if "security_min" in values:
        values["security_min"] = float(values["security_min"])
    for key in ("privacy_min", "bits_max", "weight_max", "survivors_min", "delivery_bytes_max"):
        if key in values and type(values[key]) is not int:
            raise TypeError(f"{key} must be a whole number, not {values[key]!r}")
    return CommitteePolicy(**values)


def _member(entry: Any) -> tuple[bytes, bytes]:
    party, public = entry
    return party.encode("utf-8"), bytes.fromhex(public)


_DEFAULT_TOML = """\
# What this node allows. A server may propose; whatever lies below these limits is refused before anything is sent.

protocols = ["bonawitz", "secaggplus"]

# "malicious": refuse sessions that trust the server. "semi_honest": allow them as well.
adversary = "malicious"

# Corrupt clients to withstand, out of the whole roster. Left out: a third of the roster, rounded up, minus one.
# corrupt = 5

threshold_min = 2
clients_min = 3
clients_max = 1048576

# Least number of honest clients in a sum that this node helps to open.
honest_survivors_min = 3

purposes = ["training", "evaluation", "statistics", "scales"]

# Sparse graphs must withstand these fractions of corrupt and of vanishing clients.
gamma = 0.05
delta = 0.05

ciphers = [1, 2]          # 1 AES-128-CTR, 2 ChaCha20
require_hybrid = false    # true: refuse sessions without ML-KEM-768

open_rounds_max = 8
entries_max = 4294967296
attachment_max = 67108864

# "required": refuse rounds in which updates are not proven to be bounded.
attestation = "any"
attestation_values_max = 1048576

# "required": refuse rounds without differential privacy for this unit: "user" hides all that this node holds, "record"
# one record of it; "zero_out": it counts as zero, "replace_one": any other stands in its place. epsilon_max: what all
# rounds with such a plan may spend together, measured at delta_max.
privacy = "any"
privacy_unit = "user"
privacy_adjacency = "zero_out"
epsilon_max = 8.0
delta_max = 0.00001

# roster_hash = "…64 hex digits…"
# ledger_key = "…64 hex digits…"

# SHA-256 of code that a framework may bring here and run, such as Flower's app bundle (see `privcomp supernode`).
# code_hashes = ["…64 hex digits…"]

# Releases on an unchanged model beyond the first one, per purpose. Each is one more sum on the same data.
[same_model_reentries]
# statistics = 0

# One-shot rounds: who may hold the shares of this node's keys. Without an entry here nobody may.
[committee]
# members = [["hospital-a", "…64 hex digits…"], ["hospital-b", "…64 hex digits…"]]
# privacy_min = 3         # corrupt members that the named committee withstands, at least; default: a third
# key_holder = ["broker", "…64 hex digits…"]   # it and the server together could open this node's update
# beacon = "…hex digits…" # committees are drawn from the roster with it
bits_max = 32
weight_max = 1048576
security_min = 128.0
# survivors_min = 20      # in place of half of the roster
delivery_bytes_max = 268435456
"""
