"""One secret and its shares: additive, replicated, Shamir's, packed; and opening although some shares are wrong."""

from privcomp.sharing.additive import SEED_BYTES, AdditiveShare, combine_additive, share_additive
from privcomp.sharing.packed import (
    PackedParams,
    PackedShare,
    add_packed,
    combine_packed,
    multiply_packed,
    share_packed,
)
from privcomp.sharing.replicated import ReplicatedShare, combine_replicated, held, share_replicated
from privcomp.sharing.robust import Opened, combine_packed_robust, combine_robust
from privcomp.sharing.shamir import (
    Share,
    combine,
    combine_bytes,
    combine_many,
    share,
    share_bytes,
    share_many,
    share_rows,
)

__all__ = [
    "SEED_BYTES",
    "AdditiveShare",
    "Opened",
    "PackedParams",
    "PackedShare",
    "ReplicatedShare",
    "Share",
    "add_packed",
    "combine",
    "combine_additive",
    "combine_bytes",
    "combine_many",
    "combine_packed",
    "combine_packed_robust",
    "combine_replicated",
    "combine_robust",
    "held",
    "multiply_packed",
    "share",
    "share_additive",
    "share_bytes",
    "share_many",
    "share_packed",
    "share_replicated",
    "share_rows",
]
