"""What clients and members enforce themselves; the server chooses everything else.

The rules, the attack that each of them stops and the test that keeps it are in docs/oneshot.md. Rules about one message
stand where that message is handled (`client`, `member`); those that need the policy or the journal are here.
"""

from __future__ import annotations

from typing import Final

from privcomp import keys
from privcomp.codec import digest
from privcomp.errors import CodecError, JournalError, ParameterError, PolicyError, RemoteError
from privcomp.journal import Entry, Journal
from privcomp.keys import Roster
from privcomp.oneshot.committee import NAMED, SAMPLED, Committee, sampling_is_safe
from privcomp.oneshot.context import SERVER, RoundContext, closes, seat_signed_by
from privcomp.oneshot.messages import Announce
from privcomp.oneshot.params import MALICIOUS, ONESHOT, SEMI_HONEST, least_survivors
from privcomp.policy import Policy

__all__ = ["ACCEPT", "ANSWER", "BOXKEY", "CLOSE", "PROPOSE", "UPLOAD", "VOTE", "Rules"]

# Stages of the journal. One identity can be client and member, and one journal holds both: the numbers differ from each
# other and from those of the interactive protocols.
UPLOAD: Final = 0x10
BOXKEY: Final = 0x11
ACCEPT: Final = 0x12
VOTE: Final = 0x13
ANSWER: Final = 0x14
CLOSE: Final = 0x15
PROPOSE: Final = 0x16

_PPM = 1_000_000


class Rules:
    """The rules of one client or member.

    Args:
        policy: this node's limits.
        roster: id -> long-term key, pinned.
        journal: what this identity has sent.
    """

    def __init__(self, policy: Policy, roster: Roster, journal: Journal) -> None:
        self._policy = policy
        self._roster = roster
        self._journal = journal

    # ---- the announcement ----

    def context(self, announce: Announce) -> RoundContext:
        """The context of an announcement, recomputed.

        Raises:
            PolicyError: its parameters are not canonical or do not add up.
        """
        try:
            return RoundContext.of(announce)
        except CodecError as error:
            raise PolicyError(f"the announced parameters are refused: {error.message}") from None

    def announcement(self, context: RoundContext) -> None:
        """The round is within this node's policy.

        Raises:
            PolicyError: it is not.
            RemoteError: a signature of the server or of a member does not verify, or a box key comes twice.
        """
        a, p, policy = context.announce, context.params, self._policy
        if not context.signed_by(a.server, a.signature, "announce", context.announce_body):
            raise RemoteError(SERVER, "announce", "the server's signature does not verify")
        pinned = policy.ledger_key
        policy.require(pinned in (None, a.server), "a round under another server's key", "the key that is pinned")
        policy.require(ONESHOT in policy.protocols, f"protocol {ONESHOT!r}", f"{policy.protocols}")
        policy.require(
            p.adversary == MALICIOUS or policy.adversary == SEMI_HONEST,
            f"a session that trusts the server ({p.adversary})",
            policy.adversary,
        )
        policy.require(a.roster_hash == self._roster.hash, "another roster", "the roster that this node holds")
        policy.require(a.purpose in policy.purposes, f"purpose {a.purpose!r}", f"{policy.purposes}")
        policy.require(p.hybrid or not policy.require_hybrid, "X25519 alone", "the hybrid with ML-KEM-768")
        policy.require(
            policy.clients_min <= p.clients <= policy.clients_max,
            f"up to {p.clients} clients",
            f"{policy.clients_min}..{policy.clients_max}",
        )
        policy.require(p.length <= policy.entries_max, "a longer vector", f"{policy.entries_max} entries")
        own = policy.committee
        policy.require(p.ring.bits <= own.bits_max, f"values of {p.ring.bits} bits", f"at most {own.bits_max}")
        policy.require(p.ring.weight <= own.weight_max, f"weights up to {p.ring.weight}", f"at most {own.weight_max}")
        bits = p.ring.security.bits
        policy.require(bits >= own.security_min, f"{bits} estimated bits", f"at least {own.security_min}")
        least = self.survivors_min(context)
        policy.require(p.survivors_min >= least, f"sums of {p.survivors_min} clients", f"at least {least}")
        self.committee(context)

    def corrupt(self, context: RoundContext) -> int:
        """c_cl: corrupt clients of the whole roster, the larger of floor(gamma n) and the policy's c."""
        gamma = max(context.params.gamma_ppm, self._policy.gamma_ppm)
        n = len(self._roster)
        return max(gamma * n // _PPM, self._policy.corrupt_for(context.params.adversary, n))

    def survivors_min(self, context: RoundContext) -> int:
        """The least n_min that this node accepts. n is the size of the pinned roster: a server that counted those whom
        it asks could make it as small as it likes."""
        honest, corrupt = self._policy.honest_survivors_min, self.corrupt(context)
        explicit = self._policy.committee.survivors_min
        if explicit is not None:
            return max(corrupt + honest, explicit)
        return least_survivors(len(self._roster), corrupt, honest)

    def committee(self, context: RoundContext) -> None:
        """The committee is the policy's own, or the one that roster and beacon give, and its box keys are its members'.

        Raises:
            PolicyError: another committee, or one that withstands too little.
            RemoteError: a box key without its member's signature, or one that comes twice.
        """
        self.chosen(context.params.committee, self.corrupt(context))
        seats, hybrid = context.announce.seats, context.params.hybrid
        seen: set[bytes] = set()
        for place, (party, public) in enumerate(context.params.committee.members):
            seat = seats[place]
            if seat.is_empty:
                continue  # it sent no key: nothing is sealed to it, and it counts as absent
            try:
                keys.x25519_check_public(seat.key)
                if hybrid:
                    keys.mlkem_check_public(seat.kem)
            except ParameterError as error:
                raise RemoteError(party, "announce", str(error)) from None
            if bool(seat.kem) != hybrid:
                raise RemoteError(SERVER, "announce", f"the KEM key of {party!r} is not what this round asks for")
            if seat.key in seen:
                raise RemoteError(SERVER, "announce", f"the box key of {party!r} comes twice")
            seen.add(seat.key)
            if not seat_signed_by(context, place, party, public):
                raise RemoteError(
                    SERVER, "announce", f"the box key of {party!r} does not carry that member's signature"
                )
        if len(context.present) < context.params.committee.needed:
            raise RemoteError(
                SERVER, "announce", f"{len(context.present)} members sent box keys: no sum could be opened"
            )

    def chosen(self, c: Committee, corrupt: int) -> None:
        """Whether this node's policy has this committee.

        Members are drawn from the clients, so a sampled committee withstands as many corrupt ones of the whole roster
        as the sums do: with fewer in (S) the clients that the policy counts as corrupt could read every key.

        Args:
            c: the committee.
            corrupt: c_cl of the roster, see `corrupt`.

        Raises:
            PolicyError: it has not.
        """
        policy, own = self._policy, self._policy.committee
        if c.kind == NAMED:
            policy.require(bool(own.members) and c.members == own.members, "another committee", "the one that is named")
            policy.require(c.privacy >= own.privacy_least, f"t_p = {c.privacy}", f"at least {own.privacy_least}")
        elif c.kind == SAMPLED:
            policy.require(bool(own.beacon) and c.beacon == own.beacon, "another beacon", "the one that is pinned")
            if c.size > len(self._roster):
                raise PolicyError(f"a committee of {c.size} drawn from a roster of {len(self._roster)}")
            drawn = Committee.sampled(self._roster, c.beacon, c.size, c.privacy, c.packing)
            policy.require(drawn.members == c.members, "another committee", "the one that roster and beacon give")
            n = len(self._roster)
            # The least gamma with floor(gamma n) >= corrupt.
            safe = sampling_is_safe(n, -(-min(corrupt, n) * _PPM // n), c.size, c.privacy)
            policy.require(
                safe, f"c = {c.size}, t_p = {c.privacy}", f"condition (S) for {corrupt} corrupt clients of {n}"
            )
        else:
            holder = own.key_holder
            policy.require(
                holder is not None and c.members == (holder,), "a single key-holder", "the one that is named"
            )

    # ---- box keys ----

    def box_key(self, session: bytes, round: int, server: bytes) -> None:
        """A member draws one box key for a server's (session, round), whatever else the request says.

        Raises:
            JournalError: it has drawn one, with another committee or another kind of boxes.
        """
        for entry in self._journal.of_round(session, round):
            if entry.protocol == ONESHOT and entry.stage == BOXKEY and entry.note[32:] == server:
                raise JournalError("this member was asked for a box key of this session and round otherwise before")

    # ---- one set per model ----

    def other_protocols(self, context: RoundContext) -> None:
        """A model that was used in another protocol is closed for this one.

        Raises:
            JournalError: it was.
        """
        if any(entry.protocol != ONESHOT for entry in self._journal.of_model(context.announce.model_hash)):
            raise JournalError("this model was used in an interactive round: it is closed for one-shot rounds")

    def upload(self, context: RoundContext) -> None:
        """A client uploads on one model to one committee, unless K of every other one have closed it.

        Two committees could each certify a set on this model; the difference of the two sums isolates clients. Within
        one committee at most one of several uploads is ever opened.

        Raises:
            JournalError: this (session, round) was announced differently, or the model is bound to another committee.
        """
        a, committee = context.announce, context.params.committee
        for entry in self._journal.of_round(a.session, a.round):
            if entry.protocol != ONESHOT or (entry.stage == UPLOAD and entry.round_digest != context.digest):
                raise JournalError("this session and round number was announced with other parameters before")
        self.other_protocols(context)
        released = {
            certificate.committee.hash
            for certificate in a.closes
            if certificate.model_hash == a.model_hash and closes(certificate)
        }
        bound = {entry.note[:32] for entry in self._journal.of_model(a.model_hash) if entry.stage == UPLOAD}
        if len(bound - released - {committee.hash}) > self._policy.reentries(a.purpose):
            raise JournalError(
                "this client uploaded on this very model to another committee: a second sum of identical updates "
                "isolates clients; show that committee's close certificate (policy: same_model_reentries)"
            )

    def repeated(self, session: bytes, round: int, own: bytes, hashed: bytes, stage: int) -> Entry | None:
        """The entry of a stage that was done for this very set.

        Raises:
            JournalError: this member signed or answered another set in this session and round.
        """
        for entry in self._journal.of_round(session, round):
            if entry.protocol == ONESHOT and entry.stage in (VOTE, ANSWER) and entry.note[32:] != hashed:
                raise JournalError("this member signed or answered another set in this session and round")
        return self._journal.find(own, stage)

    def opens(self, context: RoundContext, own: bytes, hashed: bytes, stage: int) -> Entry | None:
        """A member votes for, or answers on, one set per (session, round) and per (model, committee), for ever.

        Args:
            context: the round.
            own: this member's row-0 digest of the round.
            hashed: the set.
            stage: VOTE or ANSWER.

        Returns:
            The entry of this very stage, where it was done before for the same set: its bytes are sent again.

        Raises:
            JournalError: another set, or a close, is in the journal.
        """
        a, committee = context.announce, context.params.committee
        done = self.repeated(a.session, a.round, own, hashed, stage)
        if done is not None:
            return done
        self.other_protocols(context)
        if self._journal.find(close_digest(a.model_hash, committee.hash), CLOSE) is not None:
            raise JournalError("this member closed this model for this committee: it opens nothing on it")
        others = {
            entry.round_digest
            for entry in self._journal.of_model(a.model_hash)
            if entry.stage in (VOTE, ANSWER) and entry.note[:32] == committee.hash and entry.round_digest != own
        }
        if len(others) > self._policy.reentries(a.purpose):
            raise JournalError(
                f"this member opened {len(others)} set(s) on this very model with this committee: a second sum of "
                "identical updates isolates clients (policy: same_model_reentries)"
            )
        return None

    def close(self, context: RoundContext, own: bytes) -> None:
        """A member closes a model only if its journal reaches back before the first round on it, and shows no vote.

        Raises:
            JournalError: it does not reach back, or it shows a vote or an answer.
        """
        a, committee = context.announce, context.params.committee
        row0 = self._journal.find(own, BOXKEY)
        if row0 is None or row0.note[:32] != committee.hash:
            raise JournalError("this member's journal does not hold its box key of that round: it closes nothing")
        for entry in self._journal.of_model(a.model_hash):
            if entry.protocol != ONESHOT or entry.stage == UPLOAD or entry.note[:32] != committee.hash:
                continue
            if entry.stage in (VOTE, ANSWER):
                raise JournalError("this member voted or answered on this model: it cannot be closed any more")
            if entry.sequence < row0.sequence:
                raise JournalError("that is not the first round on this model; show the announcement of the first one")


def row0_digest(roster_hash: bytes, session: bytes, round: int, committee_hash: bytes, hybrid: bool) -> bytes:
    """What a member's entries of a round go under: its box key is signed before there is a ctx."""
    number = round.to_bytes(8, "little")
    return digest("privcomp-oneshot-1/row0", roster_hash, session, number, committee_hash, bytes([hybrid]))


def close_digest(model_hash: bytes, committee_hash: bytes) -> bytes:
    """What the close of a (model, committee) goes under."""
    return digest("privcomp-oneshot-1/closed", model_hash, committee_hash)
