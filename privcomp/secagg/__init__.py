"""Secure aggregation: the server learns the sum over the survivors and nothing else.

`bonawitz` (complete graph, semi-honest or malicious server) and `secaggplus` (k neighbours, semi-honest server) in one
state-machine family. Sources: Bonawitz et al., CCS 2017 (eprint 2017/281); Bell et al., CCS 2020 (eprint 2020/704); the
rules that a client enforces itself are in docs/secagg.md.
"""

from privcomp.secagg.client import Advertised, Client, ClientState, Contribution, Finished, Masked, Shared, Signed
from privcomp.secagg.params import BONAWITZ, MALICIOUS, SECAGGPLUS, SEMI_HONEST, Params, Segment, Thresholds
from privcomp.secagg.server import Aggregate, Server

__all__ = [
    "BONAWITZ",
    "MALICIOUS",
    "SECAGGPLUS",
    "SEMI_HONEST",
    "Advertised",
    "Aggregate",
    "Client",
    "ClientState",
    "Contribution",
    "Finished",
    "Masked",
    "Params",
    "Segment",
    "Server",
    "Shared",
    "Signed",
    "Thresholds",
]
