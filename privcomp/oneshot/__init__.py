"""One-shot aggregation: a client sends one message and may vanish; a committee holds shares of the keys.

Clients encrypt under fresh keys (`privcomp.he`), and share each key among the members of a committee. A quorum of
members signs one set of survivors, each member answers with one sum of shares, and the server gets the sum of the keys
of that set: it opens the sum of the updates and nothing else. The messages, the rules that clients and members enforce
themselves, what leaks and what is not proven are in docs/oneshot.md.

Source: Karthikeyan and Polychroniadou, "OPA: One-shot Private Aggregation with Single Client Interaction and its
Applications to Federated Learning", eprint 2024/1917.
"""

from privcomp.oneshot.client import Client, Contribution, Uploaded
from privcomp.oneshot.closing import Closing
from privcomp.oneshot.committee import Committee, Size, size_committee
from privcomp.oneshot.context import RoundContext, set_hash, upload_digest
from privcomp.oneshot.member import KeyHolder, Member
from privcomp.oneshot.messages import STAGES, Announce, CloseCertificate, UploadRequest
from privcomp.oneshot.params import MALICIOUS, ONESHOT, SEMI_HONEST, Params, least_survivors
from privcomp.oneshot.server import Aggregate, Server

__all__ = [
    "MALICIOUS",
    "ONESHOT",
    "SEMI_HONEST",
    "STAGES",
    "Aggregate",
    "Announce",
    "Client",
    "CloseCertificate",
    "Closing",
    "Committee",
    "Contribution",
    "KeyHolder",
    "Member",
    "Params",
    "RoundContext",
    "Server",
    "Size",
    "UploadRequest",
    "Uploaded",
    "least_survivors",
    "set_hash",
    "size_committee",
    "upload_digest",
]
