"""What a client enforces itself; the server chooses everything else.

The rules and the attack that each of them stops are in docs/secagg.md. Rules 3, 5, 7 and 8 are about one message each
and stand where that message is handled (`client`, `context.Directory`); those that need the policy, the journal or a
count of the parties are here.
"""

from __future__ import annotations

from privcomp.errors import JournalError, PolicyError, RemoteError, StateError
from privcomp.journal import Journal
from privcomp.keys import Roster
from privcomp.policy import Policy
from privcomp.secagg import graph
from privcomp.secagg.context import NO_ROSTER, SERVER, Directory, RoundContext, signed_by
from privcomp.secagg.messages import STAGES, Places, UnmaskRequest
from privcomp.secagg.params import MALICIOUS, SEMI_HONEST

__all__ = ["Rules"]

MASK, UNMASK = STAGES.index("mask"), STAGES.index("unmask")


class Rules:
    """The rules of one client.

    Args:
        policy: this node's limits.
        roster: id -> long-term key, or None.
        journal: what this identity has sent.
    """

    def __init__(self, policy: Policy, roster: Roster | None, journal: Journal) -> None:
        self._policy = policy
        self._roster = roster
        self._journal = journal

    def announcement(self, context: RoundContext) -> None:
        """Rule 1: the round is within this node's policy.

        Raises:
            PolicyError: it is not.
        """
        a, p, policy = context.announce, context.params, self._policy
        policy.require(p.protocol in policy.protocols, f"protocol {p.protocol!r}", f"{policy.protocols}")
        policy.require(
            p.adversary == MALICIOUS or policy.adversary == SEMI_HONEST,
            f"a session that trusts the server ({p.adversary})",
            policy.adversary,
        )
        policy.require(
            self._roster is not None or p.adversary == SEMI_HONEST,
            "a malicious-server session without a roster",
            "semi_honest, or give this client a roster",
        )
        expected = self._roster.hash if self._roster is not None else NO_ROSTER
        policy.require(a.roster_hash == expected, "another roster", "the roster that this client holds")
        policy.require(a.purpose in policy.purposes, f"purpose {a.purpose!r}", f"{policy.purposes}")
        policy.require(p.cipher in policy.ciphers, f"cipher {p.cipher}", f"{policy.ciphers}")
        policy.require(p.hybrid or not policy.require_hybrid, "X25519 alone", "the hybrid with ML-KEM-768")
        policy.require(
            policy.clients_min <= p.clients <= policy.clients_max,
            f"up to {p.clients} clients",
            f"{policy.clients_min}..{policy.clients_max}",
        )
        policy.require(
            sum(s.length for s in p.segments) <= policy.entries_max, "a longer vector", f"{policy.entries_max} entries"
        )
        policy.require(
            p.attachment_bytes <= policy.attachment_max, "a larger attachment", f"{policy.attachment_max} bytes"
        )
        c, least = self.corrupt(context), self._policy.threshold_min
        policy.require(p.corrupt >= c, f"c = {p.corrupt} corrupt clients", f"at least {c} of the roster")
        policy.require(not p.threshold or p.threshold >= least, f"threshold {p.threshold}", f"at least {least}")
        if p.gamma_ppm < policy.gamma_ppm and p.protocol != "bonawitz":
            raise PolicyError(
                f"a sparse graph for gamma = {p.gamma_ppm / 1e6}; allowed: {policy.gamma_ppm / 1e6} or more"
            )

    def corrupt(self, context: RoundContext) -> int:
        """c: the larger of policy and params, out of the whole roster."""
        p = context.params
        size = len(self._roster) if self._roster is not None else p.clients
        return max(p.corrupt, self._policy.corrupt_for(p.adversary, size))

    def model(self, context: RoundContext, *, answering: bool = False) -> None:
        """Rule 6: per model hash, in whatever session or purpose, at most one answered U (plus granted reentries).

        Round numbers grow per model; masking in a newer round closes the older ones for ever; after an answer nothing
        is masked any more. Otherwise S and S minus {i} on the same model give away i.

        Raises:
            JournalError: the model is used up, or this round is older than one in which this client masked.
        """
        a = context.announce
        others = [e for e in self._journal.of_model(a.model_hash) if e.round_digest != context.digest]
        for protocol, what in (("oneshot", "used in a one-shot round"), ("mpc", "shared among servers")):
            if any(e.protocol == protocol for e in others):
                raise JournalError(f"this model was {what}: it is closed for interactive rounds")
        newest = max((e.round for e in others if e.stage == MASK), default=-1)
        if a.round <= newest:
            raise JournalError(
                f"round {a.round} on a model on which this client masked in round {newest}: older rounds are closed; "
                "announce a newer round"
            )
        answered = sum(e.stage == UNMASK for e in others)
        if answered > self._policy.reentries(a.purpose):
            what = "answer" if answering else "mask"
            raise JournalError(
                f"this client answered {answered} round(s) on this very model: it will not {what} again, because a "
                "second sum of identical updates isolates clients (policy: same_model_reentries)"
            )

    def thresholds(self, directory: Directory) -> None:
        """Rule 2: n is what the key list says; t and q are recomputed for this node's own c, gamma and delta.

        Raises:
            PolicyError: too few clients, or thresholds below what this node demands.
        """
        policy, context, t = self._policy, directory.context, directory.thresholds
        n, c = directory.n, self.corrupt(context)
        policy.require(policy.clients_min <= n <= policy.clients_max, f"{n} clients", f"at least {policy.clients_min}")
        policy.require(
            t.threshold >= policy.threshold_min, f"threshold {t.threshold}", f"at least {policy.threshold_min}"
        )
        if not t.complete:
            fits = graph.sparse_conditions(n, t.neighbours, t.threshold, policy.gamma_ppm, policy.delta_ppm)
            policy.require(fits, f"k = {t.neighbours}, t = {t.threshold} for n = {n}", "this policy's gamma and delta")
        elif context.params.adversary == MALICIOUS:
            policy.require(2 * t.threshold > n + c, f"t = {t.threshold} of {n}", f"2t > n + c with c = {c}")
        else:
            policy.require(
                t.threshold > c and 2 * t.threshold >= n, f"t = {t.threshold} of {n}", f"t > c = {c} and t >= n/2"
            )

    def survivors(self, directory: Directory, me: int, u2_bits: bytes, u_bits: bytes, stage: str) -> Places:
        """Rule 4 without its quorum: own input sent, own id in U, U inside U2, |N(i) & U| >= t, honest survivors.

        Raises:
            StateError: this client has not sent its masked input.
            RemoteError: U is not what an honest server sends.
            PolicyError: too few survivors for this node's policy.
        """
        context = directory.context
        if self._journal.find(context.digest, MASK) is None:
            raise StateError("this client has not sent its masked input in this round")
        u, u2 = directory.members(u_bits, stage), directory.members(u2_bits, stage)
        t, c = directory.thresholds.threshold, self.corrupt(context)
        if me not in u:
            raise RemoteError(SERVER, stage, "this client is not among the survivors: nothing of its peers is revealed")
        if not u <= u2:
            raise RemoteError(SERVER, stage, "the survivors are not a subset of U2")
        near = len(directory.neighbours(me) & u)
        if near < t:
            raise RemoteError(
                SERVER, stage, f"{near} neighbours survive, {t} are needed: their absence would open this client"
            )
        least = max(self._policy.honest_survivors_min, context.params.honest_survivors)
        self._policy.require(
            len(u) - c >= least,
            f"{len(u)} survivors with c = {c}",
            f"at least {least} honest survivors ({least + c} in all)",
        )
        if directory.may_fall_apart(u_bits, max(self._policy.gamma_ppm, context.params.gamma_ppm)):
            raise RemoteError(SERVER, stage, "the survivors leave gaps in the ring: the sum could fall into two parts")
        return u

    def quorum(self, directory: Directory, u2_bits: bytes, message: UnmaskRequest) -> None:
        """Rule 4's quorum: signatures of q distinct identities of U1 over exactly this (U2, U), 2q > |U1| + c.

        Raises:
            RemoteError: a signature does not verify, or too few do.
        """
        need = (directory.n + self.corrupt(directory.context)) // 2 + 1
        body, last, good = directory.u_digest(u2_bits, message.u), -1, 0
        for entry in message.quorum:
            if entry.signer <= last or entry.signer >= directory.n:
                raise RemoteError(SERVER, "unmask", "the quorum's signers are not ascending places of the key list")
            last = entry.signer
            public = directory.entries[entry.signer].identity
            if not signed_by(public, entry.signature, "consistency", directory.context, directory.hash, body):
                raise RemoteError(
                    SERVER,
                    "unmask",
                    f"the signature of {directory.entries[entry.signer].id!r} over the survivors does not verify",
                )
            good += 1
        if good < need:
            raise RemoteError(SERVER, "unmask", f"{good} signatures over the survivors, {need} are needed")
