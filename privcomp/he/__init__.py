"""Homomorphic aggregation: sums of encrypted vectors.

`RlweParams` says what a sum may hold; `Encryptor`, `Aggregator` and `Decryptor` are the roles of the additive ring-LWE;
uploads are authenticated by a `SigningSender` or a `KeyedSender`. Who gets to see the sum of the secrets is another
room's business: `privcomp.oneshot`. `InsecureContext` holds everything in one hand, for notebooks.

`privcomp.he.ckks` (extra `he`) has the same roles over CKKS, `privcomp.he.arrays` sums of named arrays with it.
"""

from privcomp.he.notebook import EncryptedVector, InsecureContext
from privcomp.he.params import RlweParams, Security
from privcomp.he.rlwe import Aggregator, Decryptor, Encryptor, Secret
from privcomp.he.upload import KeyedReceiver, KeyedSender, RosterReceiver, SigningSender

__all__ = [
    "Aggregator",
    "Decryptor",
    "EncryptedVector",
    "Encryptor",
    "InsecureContext",
    "KeyedReceiver",
    "KeyedSender",
    "RlweParams",
    "RosterReceiver",
    "Secret",
    "Security",
    "SigningSender",
]
