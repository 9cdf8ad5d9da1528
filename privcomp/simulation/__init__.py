"""A deterministic network in one process: the same seed gives the same trace, byte for byte.

Rounds run with virtual time, without threads and clocks, over byte messages only. Messages are lost, late, doubled, damaged and
replayed; clients crash and come back from their journals; or the server lies. An oracle computes what the server can.

Tolerance: a round with an honest server and honest clients must complete if, counting every client whose messages were lost,
late or damaged as lost from that stage on, |U| >= t + 1, |U| - c >= the policy's minimum, every client whose mask is in a counted
input has t neighbours that answer, and in malicious mode q signatures come.
"""
