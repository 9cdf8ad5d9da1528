"""Mutual TLS 1.3 whose certificates are the roster: who is at the other end is decided by keys that nodes know already.

Every party has a self-signed *identity certificate* for its Ed25519 key (of a node: the one in the roster; of the
server: its ledger key), which signs a *transport certificate* for another key. TLS runs with the latter, so that a
stolen transport key signs nothing in a round and no ledger header.

OpenSSL checks the chain and that the peer holds the transport key. Whose it is, it cannot say: any member of the roster
could issue a certificate in another one's name. So each side verifies the peer's certificate itself, under the one key
that may have issued it (`peer_id`, `check_server`). Nothing here expires: a roster is what ends a membership, and
a clock that is wrong locks nobody out.

An identity signs certificates and protocol messages. The latter begin with the length of a short label, as 8
little-endian bytes (`privcomp.codec.lp`); the former are DER and begin with 0x30 0x82: none is the other.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privcomp.errors import LocalError, ParameterError, RemoteError
from privcomp.keys import Identity, Roster, check_id

__all__ = [
    "check_server",
    "client_context",
    "identity_certificate",
    "party_contexts",
    "peer_id",
    "read_identity",
    "server_context",
    "transport_certificate",
]

SERVER = b"server"
_NODE_URI = "privcomp:node/"
_SERVER_URI = "privcomp:server"
_BEGIN = datetime.datetime(1970, 1, 1)  # a machine without a clock begins here
_END = datetime.datetime(9999, 12, 31, 23, 59, 59)  # RFC 5280, 4.1.2.5: no expiration


def identity_certificate(identity: Identity, party: bytes | None) -> bytes:
    """The self-signed certificate of an identity: what its owner gives away.

    Args:
        identity: the long-term key.
        party: the node's id; None for the server, whose identity is its ledger key.

    Returns:
        PEM.
    """
    key = Ed25519PrivateKey.from_private_bytes(identity.seed_bytes())
    public = Ed25519PublicKey.from_public_bytes(identity.public)
    name = _name(party)
    builder = (
        _builder(name, name, public, public)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_uri(party))]), critical=False)
    )
    return builder.sign(key, None).public_bytes(Encoding.PEM)


def transport_certificate(
    identity: Identity, party: bytes | None, public: Ed25519PublicKey, hosts: Iterable[str] = (), *, both: bool = False
) -> bytes:
    """A certificate for the key that TLS runs with, issued by an identity.

    Args:
        identity: the issuer.
        party: the node's id; None for the server.
        public: the transport key.
        hosts: DNS names and IP addresses under which the server is reached; none for a node.
        both: for a party that connects to some of its peers and is connected to by others.

    Returns:
        PEM of the certificate, followed by the issuer's.

    Raises:
        ParameterError: a host that is neither.
    """
    key = Ed25519PrivateKey.from_private_bytes(identity.seed_bytes())
    issuer = Ed25519PublicKey.from_public_bytes(identity.public)
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    usage = [server, client] if both else [server if party is None else client]
    names = [x509.UniformResourceIdentifier(_uri(party)), *map(_host, hosts)]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{_label(party)[:55]} (TLS)")])
    builder = (
        _builder(subject, _name(party), public, issuer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return builder.sign(key, None).public_bytes(Encoding.PEM) + identity_certificate(identity, party)


def read_identity(pem: bytes, what: str = "the certificate") -> tuple[bytes | None, bytes]:
    """Read an identity certificate that somebody handed over.

    Args:
        pem: one certificate.
        what: how to call it in an error.

    Returns:
        (id, or None for a server's; Ed25519 public key of 32 bytes).

    Raises:
        ParameterError: no certificate, not an identity's, or its own signature does not verify.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ParameterError(f"{what} is no PEM certificate; `privcomp keys` makes it") from None
    if len(certificates) != 1:
        raise ParameterError(f"{what} holds {len(certificates)} certificates; an identity has one")
    certificate = certificates[0]
    try:
        public, party = _public(certificate), _party(certificate)
        if not _is_ca(certificate) or not _issued(certificate, public):
            raise ValueError("not an identity's")
    except ValueError:
        raise ParameterError(
            f"{what} is not an identity certificate of privcomp; take the one that `privcomp keys` made"
        ) from None
    return party, public


def peer_id(der: bytes | None, roster: Roster) -> bytes:
    """The id of a TLS peer, after checking that the roster's key of that id issued its certificate.

    Args:
        der: the peer's own certificate, as `SSLObject.getpeercert(binary_form=True)` returns it after a handshake with
            `server_context`.
        roster: who may connect.

    Raises:
        RemoteError: no certificate, not in the roster, or issued by another key than the roster's of that id.
    """
    certificate, party = _leaf(der)
    if party is None:
        raise RemoteError(None, "tls", "the peer's certificate is a server's; nodes connect here")
    if party not in roster:
        raise RemoteError(party, "tls", "this node is not in the server's roster; its operator has to add it")
    if not _issued(certificate, roster.public(party)):
        raise RemoteError(party, "tls", "the certificate in this node's name was not issued by its key in the roster")
    return party


def check_server(der: bytes | None, ledger_key: bytes) -> None:
    """Check that a TLS peer's certificate was issued by the ledger key that this node pins.

    Raises:
        RemoteError: it was not.
    """
    certificate, party = _leaf(der)
    if party is not None or not _issued(certificate, ledger_key):
        raise RemoteError(
            SERVER, "tls", "the server's certificate was not issued by the ledger key that this node's policy pins"
        )


def server_context(certificate: Path, key: Path, clients: Path) -> ssl.SSLContext:
    """The server's side: TLS 1.3 only, and only with a certificate under one of the roster's identities.

    Args:
        certificate, key: transport certificate with its issuer, and its private key.
        clients: identity certificates of the roster, PEM.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, certificate, key, clients)


def client_context(certificate: Path, key: Path, server: Path) -> ssl.SSLContext:
    """A node's side: TLS 1.3 only, with the pinned server only, under a name that its certificate has.

    Args:
        certificate, key: transport certificate with its issuer, and its private key.
        server: the server's identity certificate, PEM.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, certificate, key, server)


def party_contexts(certificate: Path, key: Path, peers: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Both sides of a party among equals: TLS 1.3 only, and only with the identities of its peers.

    Which of them is at the other end says `peer_id`, not the host's name: an address proves nothing here.

    Args:
        certificate, key: transport certificate (`both`) with its issuer, and its private key.
        peers: their identity certificates, PEM.

    Returns:
        (for those that connect to this party, for those that it connects to).
    """
    sides = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = _bare(protocol)
        context.check_hostname = False
        try:
            context.load_cert_chain(certificate, key)
            context.load_verify_locations(cadata=peers)
        except OSError as error:
            raise LocalError(f"TLS cannot be set up from {certificate}, {key} and the peers': {error}") from None
        sides.append(context)
    return sides[0], sides[1]


def _bare(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # no resumption: every connection shows its certificate
    return context


def _context(protocol: ssl._SSLMethod, certificate: Path, key: Path, trusted: Path) -> ssl.SSLContext:
    context = _bare(protocol)
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(trusted)
    except OSError as error:  # ssl.SSLError is one, too
        raise LocalError(f"TLS cannot be set up from {certificate}, {key} and {trusted}: {error}") from None
    return context


def _leaf(der: bytes | None) -> tuple[x509.Certificate, bytes | None]:
    """The certificate of a peer and the party that it names, whether that is true or not."""
    if not der:
        raise RemoteError(None, "tls", "the peer showed no certificate")
    try:
        certificate = x509.load_der_x509_certificate(der)
        party = _party(certificate)
        if _is_ca(certificate):
            raise ValueError("an identity's, which is not for TLS")
    except ValueError:
        raise RemoteError(None, "tls", "the peer's certificate is not a transport certificate of privcomp") from None
    return certificate, party


def _builder(
    subject: x509.Name, issuer: x509.Name, public: Ed25519PublicKey, authority: Ed25519PublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _uri(party: bytes | None) -> str:
    """What names a party in its certificates: exact for every id. The common name is for people."""
    return _SERVER_URI if party is None else _NODE_URI + check_id(party).hex()


def _label(party: bytes | None) -> str:
    if party is None:
        return "privcomp server"
    text = party.decode("utf-8", "replace")
    return text if text.isprintable() and "\ufffd" not in text and len(text.encode()) <= 55 else party.hex()[:55]


def _name(party: bytes | None) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _label(party))])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host.encode("idna").decode("ascii"))
    except (UnicodeError, ValueError):
        raise ParameterError(f"{host!r} is neither a DNS name nor an IP address") from None


def _is_ca(certificate: x509.Certificate) -> bool:
    """ValueError where the certificate does not say."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        raise ValueError("no basic constraints") from None


def _party(certificate: x509.Certificate) -> bytes | None:
    """The id in a certificate, None for a server's; ValueError where there is neither."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("no name") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if uris == [_SERVER_URI]:
        return None
    if len(uris) != 1 or not uris[0].startswith(_NODE_URI):
        raise ValueError("no name of ours")
    party = bytes.fromhex(uris[0].removeprefix(_NODE_URI))
    if _uri(party) != uris[0]:  # check_id's ParameterError is a ValueError
        raise ValueError("a second spelling of an id")
    return party


def _public(certificate: x509.Certificate) -> bytes:
    """The certificate's Ed25519 key, 32 bytes; ValueError for another kind."""
    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return key.public_bytes_raw()


def _issued(certificate: x509.Certificate, public: bytes) -> bool:
    """Whether the owner of an Ed25519 key signed this certificate."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(certificate.signature, certificate.tbs_certificate_bytes)
    except (InvalidSignature, ValueError):
        return False
    return True
