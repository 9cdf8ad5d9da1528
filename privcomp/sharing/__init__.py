"""One secret and its shares."""

from privcomp.sharing.shamir import Share, combine, combine_bytes, combine_many, share, share_bytes, share_many

__all__ = ["Share", "combine", "combine_bytes", "combine_many", "share", "share_bytes", "share_many"]
