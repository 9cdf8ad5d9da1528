"""Clients with identities and a roster, from a seed."""

from __future__ import annotations

from privcomp.keys import Identity, Roster
from privcomp.simulation import Coins


def people(n: int, coins: Coins) -> tuple[list[bytes], dict[bytes, Identity], Roster]:
    """(ids, id -> identity, roster)."""
    ids = [b"client-%04d" % k for k in range(n)]
    identities = {i: Identity.from_seed(coins.child("identity", i).bytes(32)) for i in ids}
    return ids, identities, Roster.of({i: identity.public for i, identity in identities.items()})
