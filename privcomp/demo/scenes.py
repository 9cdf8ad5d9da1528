"""Two scenes that follow the training, one attested round each: a hospital that poisons, and a server that lies.

Both cheat as well as they can. The hospital commits to the update that it sends and proves what it can prove; the
server signs its ledger properly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privcomp.attest import Attestation, AttestationPart, AttestationSpec, attest_message
from privcomp.commitments import Hyrax
from privcomp.demo.baselines import plain_average
from privcomp.demo.report import LyingReport, PoisoningReport, Scenes
from privcomp.demo.secure import SecureFederation
from privcomp.demo.train import Updates, largest_difference
from privcomp.encoding import FixedPoint
from privcomp.rounds import RoundClient, RoundServer, RoundSpec, audit
from privcomp.rounds.evidence import update_context
from privcomp.secagg import Aggregate, Contribution
from privcomp.secagg.context import RoundContext
from privcomp.typing import I64Array
from privcomp.zk import norm

__all__ = ["play"]

FACTOR: Final = 1000
_NORM: Final = 15.0  # largest Euclidean norm of an update
_BITS: Final = 10  # proofs take time for every value that an entry may have
_COLUMNS: Final = 16
_FEW: Final = 10  # hospitals of the lying server
_ENTRY: Final = 0  # the one that the server changes


class Poisoner(RoundClient):
    """A hospital that masks its update times `FACTOR`, with the commitments and the proof that it can make."""

    def _attested(self, spec: RoundSpec, context: RoundContext, vector: I64Array) -> Contribution:
        statement, update = spec.statements[0], update_context(context.announce)
        poisoned = vector.copy()
        poisoned[: spec.encoding.entries] *= FACTOR
        commitment, opening = Hyrax(statement.columns, 4, statement.group).commit_var(poisoned, self._rng)
        # No proof of the poisoned entries exists; it tries one about the honest ones, under its commitments.
        fields = update.fields(self.id, "whole")
        proof = norm.prove_var(statement, fields, vector, commitment, opening, self._rng)
        parts = (AttestationPart(commitment.encode(), proof),)
        message = attest_message(spec.statements, update, self.id, parts)
        attestation = Attestation(parts, self._identity.sign("privcomp/attest", message))
        lanes = np.frombuffer(opening.blindings.to_bytes(), dtype=np.uint8).reshape(-1, 32)
        return Contribution((poisoned, lanes), attestation.to_bytes())


class Liar(RoundServer):
    """A server that checks the sum, and publishes another one."""

    def _total(self, aggregate: Aggregate) -> NDArray[np.int64]:
        total = super()._total(aggregate)
        total[_ENTRY] += 1
        return total


def play(secure: SecureFederation, folder: Path, *, model: bytes, entries: int, updates: Updates) -> Scenes | None:
    """Run both scenes.

    Args:
        secure: the federation; the round with the poisoner is recorded in its ledger.
        folder: where the lying server's ledger is written, with the roster that its audit needs.
        model: the trained model's bytes.
        entries: length of an update.
        updates: of the next round of training; every hospital counts once.

    Returns:
        What happened; None where there are too few hospitals for one to be refused.
    """
    if not secure.can_lose(1):
        return None
    clients = len(secure.roster)
    encoding = FixedPoint.for_range(_NORM, bits=_BITS, clients=clients, entries=entries)
    spec = AttestationSpec(columns=_COLUMNS, l2_squared=encoding.quantised_limit**2)

    statements = spec.statements(encoding)

    def once(hospital: int) -> tuple[NDArray[np.float64], int]:
        return updates(hospital)[0], 1

    options: dict[str, Any] = {"model": model, "encoding": encoding, "updates": once}
    result, sums = secure.attested(spec, cheat=Poisoner, **options)
    everybody = [once(i) for i in range(clients)]
    poisoned = plain_average([(FACTOR * everybody[0][0], 1), *everybody[1:]])
    poisoning = PoisoningReport(
        hospital=0,
        factor=FACTOR,
        refusal=next(iter(result.refused.values()), None),
        survivors=len(sums.survivors),
        clients=clients,
        integer_difference=largest_difference(sums.integer_sum, sums.reference_integer_sum),
        change=float(np.linalg.norm(sums.decoded.mean)),
        poisoned_change=float(np.linalg.norm(poisoned)),
        bytes=Attestation.size(statements) + 32 * statements[0].rows,
        record=sums.record,
    )
    folder.mkdir(parents=True, exist_ok=True)
    other = secure.beside(folder / "ledger", min(clients, _FEW))
    try:
        other.attested(spec, server=Liar, **options)
        (folder / "roster").write_bytes(other.roster.to_bytes())
        report = audit(folder / "ledger", ledger_key=other.ledger.public, roster=other.roster)
    finally:
        other.close()
    lying = LyingReport(
        clients=len(other.roster),
        entry=_ENTRY,
        change=1,
        ledger=str(folder / "ledger"),
        found=None if report.failure is None else str(report.failure),
    )
    return Scenes(poisoning, lying)
