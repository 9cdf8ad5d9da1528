"""The folder of a node, of a server and of a party: keys, limits and memory, made together and kept together.

    node:    identity  id  NAME.pem  policy.toml  journal/  tls.key  tls.pem      later: roster  server.pem
    server:  identity  session  server.pem  ledger  tls.key  tls.pem              later: roster  clients.pem
    party:   identity  id  NAME.pem  tls.key  tls.pem       (of a computation on shares: it has no memory to keep)

A folder is built beside its place and renamed into it, so that it is there as a whole or not at all. Secrets have mode
0600, and a folder whose secrets others can read is not opened.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from privcomp.errors import CodecError, JournalError, LedgerError, LocalError, ParameterError, PolicyError
from privcomp.integrations import tls
from privcomp.integrations.committee import committee_of
from privcomp.integrations.file_journal import FileJournal
from privcomp.integrations.files import replace_file, sync_folder
from privcomp.keys import Identity, Roster, check_id
from privcomp.ledger import Ledger
from privcomp.oneshot import ONESHOT, Committee
from privcomp.policy import Policy
from privcomp.rounds import RoundClient

__all__ = ["SIMULATED", "NodeHome", "PartyHome", "ServerHome", "make_roster", "make_simulation"]

#: Ids of simulated nodes begin so: a ledger that names them is one of a simulation, whatever it is shown as.
SIMULATED: Final = b"simulation-"

_MAX_FILE: Final = 1 << 28
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OUR_NAMES: Final = ("tls", "server", "clients")

_Path = str | os.PathLike[str]


class _Home(ABC):
    """What both folders have: an identity, transport keys, and a memory that is locked while they are open."""

    folder: Path
    identity: Identity
    roster: Roster | None

    @abstractmethod
    def close(self) -> None:
        """Release the folder for other processes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def tls_key(self) -> Path:
        """Private key that TLS runs with."""
        return self.folder / "tls.key"

    @property
    def tls_certificate(self) -> Path:
        """The transport certificate, followed by the identity's."""
        return self.folder / "tls.pem"


class NodeHome(_Home):
    """The folder of one node, open: the journal's lock is held until `close`.

    Use `create` once, `trust` when the operator has made the roster, and `open` whenever the node runs:

        with NodeHome.open("hospital-7") as home:
            client = home.client()

    Attributes:
        folder: where it lies.
        id: the node's id, 1..64 bytes.
        identity: its long-term key.
        policy: its own limits.
        roster: who takes part, or None before `trust`.
        journal: what this identity has sent.
    """

    def __init__(
        self, folder: Path, id: bytes, identity: Identity, policy: Policy, roster: Roster | None, journal: FileJournal
    ) -> None:
        self.folder = folder
        self.id = id
        self.identity = identity
        self.policy = policy
        self.roster = roster
        self.journal = journal

    def __repr__(self) -> str:
        return f"NodeHome({str(self.folder)!r}, id={self.id!r})"

    @classmethod
    def create(cls, folder: _Path, id: bytes) -> None:
        """Make the folder of a new node: identity and journal together, and nowhere else.

        Args:
            folder: must not exist, or be empty.
            id: 1..64 bytes.

        Raises:
            LocalError: something is there already, or it cannot be written.
            ParameterError: not an id.
        """
        check_id(id)
        identity = Identity.generate()

        def fill(new: Path) -> None:
            _write_identity(new, identity, id, ())
            _write(new / "id", id, 0o644)
            _write(new / certificate_name(id), tls.identity_certificate(identity, id), 0o644)
            _write(new / "policy.toml", Policy.default_toml().encode(), 0o644)
            FileJournal.create(new / "journal", identity.public).close()

        _build(Path(folder), fill)

    @classmethod
    def open(cls, folder: _Path) -> Self:
        """Load a node's folder and hold its journal.

        Raises:
            LocalError: not a node's folder, secrets that other users can read, a policy that others can change.
            ParameterError, PolicyError: a file that does not parse, a roster that is not the pinned one.
            JournalError: the journal is lost or damaged (this identity is then refused for ever), or another process
                has it.
        """
        path = Path(folder)
        identity = _read_identity(path, "node")
        party = _read(path / "id")
        check_id(party)
        if not (path / "journal" / "journal").is_file():
            raise JournalError(
                f"{path}: the journal of this identity is lost, so nobody knows any more what it has answered: it is "
                "refused for ever. Make a new node with `privcomp keys node` and have the operator replace it in the "
                "roster"
            )
        policy = read_policy(path / "policy.toml")
        roster = _read_roster(path / "roster")
        if roster is None and policy.roster_hash is not None:
            raise PolicyError(f"{path}: policy.toml pins a roster, and there is none; run `privcomp keys trust`")
        if roster is not None:
            _check_member(roster, party, identity.public)
            if policy.roster_hash not in (None, roster.hash):
                raise PolicyError(f"{path / 'roster'} is not the roster that policy.toml pins")
        return cls(path, party, identity, policy, roster, FileJournal(path / "journal", identity.public))

    @staticmethod
    def trust(
        folder: _Path,
        roster: bytes,
        server_certificate: bytes,
        *,
        committee: Iterable[bytes] = (),
        privacy: int | None = None,
        beacon: bytes = b"",
        force: bool = False,
    ) -> None:
        """Take over roster and server certificate from the operator, and pin both in policy.toml; on demand a
        committee, too.

        Args:
            folder: the node's.
            roster: bytes of the roster file.
            server_certificate: PEM of the server's identity.
            committee: ids of the roster: these nodes, with their keys in it, may hold the shares of this node's keys.
                One-shot rounds are allowed then. Empty: policy.toml stays as it is in this.
            privacy: least t_p, see `privcomp.integrations.committee.committee_of`; None: what that takes.
            beacon: 1..64 bytes: committees that are drawn from the roster with it may hold the shares of this node's
                keys. One-shot rounds are allowed then. Empty: policy.toml stays as it is in this. A new roster takes a
                new beacon.
            force: replace pins that name another roster, another server, another committee or another beacon.

        Raises:
            ParameterError: not a roster, not a server's certificate, a roster without this node and this key, or a
                committee that is none.
            PolicyError: policy.toml pins others already, or has the beacon of another roster.
        """
        path = Path(folder)
        identity, party = _read_identity(path, "node"), _read(path / "id")
        try:
            parsed = Roster.from_bytes(roster)
        except CodecError as error:
            raise ParameterError(f"this is no roster: {error.message}; `privcomp keys roster` makes it") from None
        _check_member(parsed, party, identity.public)
        owner, ledger_key = tls.read_identity(server_certificate, "the server's certificate")
        if owner is not None:
            raise ParameterError(f"this is the certificate of node {owner!r}; the server's is its server.pem")
        text = _read(path / "policy.toml").decode("utf-8", "replace")
        policy = read_policy(path / "policy.toml")
        for name, old, new in (
            ("roster_hash", policy.roster_hash, parsed.hash),
            ("ledger_key", policy.ledger_key, ledger_key),
        ):
            if old not in (None, new) and not force:
                raise PolicyError(
                    f"policy.toml pins another {name}: {old.hex()[:16]}..., not {new.hex()[:16]}...; ask your operator "
                    "what changed, and repeat with --force (force=True) if that is right"
                )
            text = _pinned(text, name, new.hex())
        known = policy.committee.beacon
        if policy.roster_hash not in (None, parsed.hash) and known and beacon in (b"", known):
            raise PolicyError(
                "policy.toml has the beacon of the roster that it pins: a node that joins, or changes its key, could "
                "choose the key until the committee suits it. Give the beacon that was made with the new roster "
                "(--beacon, beacon=)"
            )
        named = tuple(committee)
        if named:
            text = _with_committee(text, policy, committee_of(parsed, named, privacy), force)
        if beacon:
            text = _with_beacon(text, Policy.from_toml(text), beacon, force)
        _replace(path / "roster", roster)
        _replace(path / "server.pem", server_certificate)
        _replace(path / "policy.toml", text.encode())

    def client(self) -> RoundClient:
        """This node's role in rounds.

        Raises:
            PolicyError: no roster, and the policy does not allow sessions that trust the server.
        """
        if self.roster is None and self.policy.adversary != "semi_honest":
            raise PolicyError(
                f'{self.folder} has no roster: run `privcomp keys trust`. Only a policy with adversary = "semi_honest" '
                "lets a node work without"
            )
        return RoundClient(self.id, self.identity, self.policy, self.journal, self.roster)

    @property
    def certificate(self) -> Path:
        """The identity's certificate: what the operator needs."""
        return self.folder / certificate_name(self.id)

    @property
    def server_certificate(self) -> Path:
        """The server's identity certificate; there after `trust`."""
        return self.folder / "server.pem"

    def close(self) -> None:
        """Release the journal for other processes."""
        self.journal.close()


class ServerHome(_Home):
    """The folder of a server, open: the ledger's lock is held until `close`.

    Attributes:
        folder: where it lies.
        identity: the ledger key.
        ledger: one record per round.
        session: 32 bytes, the same as long as the folder exists.
        roster: who may take part, or None before `install`.
    """

    def __init__(self, folder: Path, identity: Identity, ledger: Ledger, session: bytes, roster: Roster | None) -> None:
        self.folder = folder
        self.identity = identity
        self.ledger = ledger
        self.session = session
        self.roster = roster

    def __repr__(self) -> str:
        return f"ServerHome({str(self.folder)!r}, ledger_key={self.identity.public.hex()[:16]}...)"

    @classmethod
    def create(cls, folder: _Path, hosts: Iterable[str] = ("127.0.0.1", "localhost")) -> None:
        """Make the folder of a new server.

        Args:
            folder: must not exist, or be empty.
            hosts: DNS names and IP addresses under which nodes reach it.

        Raises:
            LocalError: something is there already, or it cannot be written.
            ParameterError: a host that is neither.
        """
        identity = Identity.generate()

        def fill(new: Path) -> None:
            _write_identity(new, identity, None, hosts)
            _write(new / "session", os.urandom(32), 0o600)
            _write(new / "server.pem", tls.identity_certificate(identity, None), 0o644)
            Ledger(new / "ledger", identity).close()

        _build(Path(folder), fill)

    @classmethod
    def open(cls, folder: _Path) -> Self:
        """Load a server's folder and hold its ledger.

        Raises:
            LocalError: not a server's folder, or secrets that other users can read.
            LedgerError: the ledger is lost, damaged or in use.
        """
        path = Path(folder)
        identity = _read_identity(path, "server")
        session = _read(_private(path / "session"))
        if len(session) != 32:
            raise LocalError(f"{path / 'session'} has {len(session)} bytes, not 32: restore it from a copy")
        if not (path / "ledger").is_file():
            raise LedgerError(
                f"{path}: the ledger is lost; its clients would refuse another one: restore it from a copy"
            )
        roster = _read_roster(path / "roster")
        return cls(path, identity, Ledger(path / "ledger", identity), session, roster)

    @staticmethod
    def install(folder: _Path, roster: Roster, clients: bytes) -> None:
        """Put a roster and the certificates of its members (PEM) into a server's folder."""
        path = Path(folder)
        _read_identity(path, "server")
        _replace(path / "clients.pem", clients)
        _replace(path / "roster", roster.to_bytes())

    @staticmethod
    def set_hosts(folder: _Path, hosts: Iterable[str]) -> None:
        """Renew the transport key and certificate for other host names; identity and ledger stay.

        Raises:
            LocalError: not a server's folder.
            ParameterError: a host that is neither a DNS name nor an IP address.
        """
        path = Path(folder)
        key, certificate = _transport(_read_identity(path, "server"), None, hosts)
        # A crash in between leaves a pair that does not fit, which the next start says; then this is run again.
        _replace(path / "tls.pem", certificate)
        _replace(path / "tls.key", key, 0o600)

    @property
    def clients(self) -> Path:
        """Identity certificates of the roster; there after `install`."""
        return self.folder / "clients.pem"

    @property
    def certificate(self) -> Path:
        """The server's identity certificate: what every node needs."""
        return self.folder / "server.pem"

    def close(self) -> None:
        """Release the ledger for other processes."""
        self.ledger.close()


class PartyHome:
    """The folder of one party of computations on shares: who it is, and what it shows its peers.

    Attributes:
        folder: where it lies.
        id: the party's id, 1..64 bytes.
    """

    def __init__(self, folder: Path, id: bytes) -> None:
        self.folder = folder
        self.id = id

    def __repr__(self) -> str:
        return f"PartyHome({str(self.folder)!r}, id={self.id!r})"

    @classmethod
    def create(cls, folder: _Path, id: bytes) -> None:
        """Make the folder of a new party.

        Args:
            folder: must not exist, or be empty.
            id: 1..64 bytes.

        Raises:
            LocalError: something is there already, or it cannot be written.
            ParameterError: not an id.
        """
        check_id(id)
        identity = Identity.generate()

        def fill(new: Path) -> None:
            _write_identity(new, identity, id, (), both=True)
            _write(new / "id", id, 0o644)
            _write(new / certificate_name(id), tls.identity_certificate(identity, id), 0o644)

        _build(Path(folder), fill)

    @classmethod
    def open(cls, folder: _Path) -> Self:
        """Load a party's folder.

        Raises:
            LocalError: not a party's folder, or secrets that other users can read.
        """
        path = Path(folder)
        if (path / "policy.toml").exists():
            raise LocalError(f"{path} is the folder of a node; make one of a party with `privcomp keys party`")
        _read_identity(path, "party")
        party = _read(path / "id")
        check_id(party)
        return cls(path, party)

    @property
    def certificate(self) -> Path:
        """The identity's certificate: what the other parties need."""
        return self.folder / certificate_name(self.id)

    @property
    def tls_key(self) -> Path:
        """Private key that TLS runs with."""
        return self.folder / "tls.key"

    @property
    def tls_certificate(self) -> Path:
        """The transport certificate, followed by the identity's."""
        return self.folder / "tls.pem"


def make_roster(certificates: Mapping[str, bytes]) -> tuple[Roster, bytes]:
    """A roster from what nodes handed over.

    Args:
        certificates: name of the file (for errors) -> PEM of a node's identity certificate.

    Returns:
        The roster, and the certificates in its order as one PEM, which is what the server's TLS trusts.

    Raises:
        ParameterError: not a node's certificate, or one id or key in two of them.
    """
    found: dict[bytes, tuple[bytes, str]] = {}
    pems: dict[bytes, bytes] = {}
    for name, pem in certificates.items():
        party, public = tls.read_identity(pem, name)
        if party is None:
            raise ParameterError(f"{name} is a server's certificate; a roster names nodes")
        if party in found:
            raise ParameterError(f"{name} and {found[party][1]} are both of node {party!r}; every node is named once")
        found[party] = (public, name)
        pems[party] = pem.strip() + b"\n"
    roster = Roster.of({party: public for party, (public, _) in found.items()})
    return roster, b"".join(pems[party] for party in roster.ids)


def make_simulation(
    folder: _Path,
    nodes: Iterable[str],
    *,
    policy: str | None = None,
    committee: Iterable[str] = (),
    beacon: bytes = b"",
) -> Roster:
    """Homes for a simulation on one machine: `FOLDER/server`, and `FOLDER/NAME` for each node.

    Args:
        folder: must not exist, or be empty.
        nodes: at least 3 names; the ids are these behind `SIMULATED`.
        policy: text of their policy.toml. Left out, it allows what a simulation needs and a real node must not: a
            server that is trusted, and any number of rounds on one model, so that an experiment can be repeated.
        committee: names of those that hold the shares of keys in one-shot rounds; empty: no such rounds.
        beacon: with which they are drawn; empty: no such rounds.

    Raises:
        ParameterError: fewer nodes, or a committee that is none.
        LocalError: something is there already.
    """
    names, members = list(dict.fromkeys(nodes)), [SIMULATED + name.encode() for name in committee]
    if len(names) < 3:
        raise ParameterError(f"{len(names)} nodes: secure aggregation needs at least 3")
    root, text = Path(folder), (_SIMULATED_POLICY.format(again=1 << 30) if policy is None else policy).encode()

    def fill(new: Path) -> None:
        ServerHome.create(new / "server")
        certificates = {}
        for name in names:
            party = SIMULATED + name.encode()
            NodeHome.create(new / name, party)
            certificates[name] = (new / name / certificate_name(party)).read_bytes()
        roster, clients = make_roster(certificates)
        ServerHome.install(new / "server", roster, clients)
        server = (new / "server" / "server.pem").read_bytes()
        for name in names:
            _replace(new / name / "policy.toml", text)
            NodeHome.trust(new / name, roster.to_bytes(), server, committee=members, beacon=beacon)

    _build(root, fill)
    made = _read_roster(root / "server" / "roster")
    if made is None:
        raise LocalError(f"{root} was changed while it was made; remove it and repeat")
    return made


_SIMULATED_POLICY: Final = """\
# A simulated node's: it has nobody to protect. Never copy it to a real one.
adversary = "semi_honest"

[same_model_reentries]
training = {again}
evaluation = {again}
"""


def certificate_name(party: bytes) -> str:
    """File name of a node's identity certificate: its id where that is a plain name, else in hex."""
    text = party.decode("ascii", "replace")
    return f"{text}.pem" if _PLAIN_NAME.fullmatch(text) and text not in _OUR_NAMES else f"id-{party.hex()}.pem"


def read_policy(path: Path) -> Policy:
    """Read a node's policy file.

    Raises:
        LocalError: not there, or other users can change it.
        ParameterError: it does not parse.
    """
    mode = _mode(path)
    if mode & 0o022:
        raise LocalError(f"{path} can be changed by other users (mode {mode:04o}): run `chmod go-w {path}`")
    try:
        text = _read(path).decode("utf-8")
    except UnicodeDecodeError:
        raise ParameterError(f"{path} is not UTF-8 text") from None
    try:
        return Policy.from_toml(text)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None


# ---- files


def _build(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder beside its place, sync it, rename it into place: it is there as a whole or not at all."""
    folder = Path(os.path.abspath(folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LocalError(f"{folder} exists already and is not empty; name another folder: keys are never overwritten")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise LocalError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        fill(new)
        sync_folder(new)
        os.rename(new, folder)  # over an empty folder; refused where somebody was faster
        sync_folder(folder.parent)
    except OSError as error:
        raise LocalError(f"{folder} cannot be written: {error.strerror}") from None
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(new)


def _write_identity(
    folder: Path, identity: Identity, party: bytes | None, hosts: Iterable[str], *, both: bool = False
) -> None:
    _write(folder / "identity", _pem(Ed25519PrivateKey.from_private_bytes(identity.seed_bytes())), 0o600)
    key, certificate = _transport(identity, party, hosts, both=both)
    _write(folder / "tls.key", key, 0o600)
    _write(folder / "tls.pem", certificate, 0o644)


def _transport(
    identity: Identity, party: bytes | None, hosts: Iterable[str], *, both: bool = False
) -> tuple[bytes, bytes]:
    key = Ed25519PrivateKey.generate()
    return _pem(key), tls.transport_certificate(identity, party, key.public_key(), hosts, both=both)


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_identity(folder: Path, kind: str) -> Identity:
    """The identity in a folder, after the checks on who else can read it."""
    is_server = (folder / "session").exists()
    if not (folder / "identity").is_file() or is_server != (kind == "server"):
        raise LocalError(f"{folder} is not the folder of a {kind}; make one with `privcomp keys {kind} {folder}`")
    for name in ("identity", "tls.key", *(() if is_server else ("journal",))):
        if (folder / name).exists():
            _private(folder / name)
    try:
        key = load_pem_private_key(_read(folder / "identity"), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise LocalError(f"{folder / 'identity'} is damaged: restore it from a copy, or make a new {kind}")
    return Identity(key)


def _read_roster(path: Path) -> Roster | None:
    if not path.exists():
        return None
    try:
        return Roster.from_bytes(_read(path))
    except CodecError as error:
        raise ParameterError(f"{path} is no roster: {error.message}; fetch it from your operator again") from None


def _check_member(roster: Roster, party: bytes, public: bytes) -> None:
    if party not in roster:
        raise ParameterError(
            f"the roster does not name this node, {party!r}; send your certificate to the operator of the roster"
        )
    if roster.public(party) != public:
        raise ParameterError(
            f"the roster has another key for {party!r}: it was made for an older folder of this node; send the "
            "operator the certificate of this one"
        )


def _private(path: Path) -> Path:
    mode = _mode(path)
    if mode & 0o077:
        wanted = "700" if path.is_dir() else "600"
        raise LocalError(
            f"{path} can be read by other users (mode {mode:04o}): run `chmod {wanted} {path}`, and think about who "
            "may have copied it"
        )
    return path


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_FILE:
                raise LocalError(f"{path} has {size} bytes; that is no file of ours")
            return file.read()
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}") from None


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file atomically, over an older one."""
    try:
        replace_file(path, data, mode)
        sync_folder(path.parent)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from None


def _pinned(text: str, name: str, value: str) -> str:
    """The policy file with one pin set."""
    return _edited(text, None, name, f'"{value}"')


def _with_committee(text: str, policy: Policy, committee: Committee, force: bool) -> str:
    """The policy file with a named committee, and one-shot rounds allowed.

    Raises:
        PolicyError: it names another committee already.
        LocalError: ids that are no text, or a file that cannot be changed.
    """
    old = policy.committee
    least = committee.privacy if force else max(old.privacy_min or 0, committee.privacy)
    if old.members not in ((), committee.members) and not force:
        raise PolicyError(
            "policy.toml names another committee; ask your operator what changed, and repeat with --force (force=True) "
            "if that is right"
        )
    try:
        pairs = [f'["{_toml(party.decode())}", "{public.hex()}"]' for party, public in committee.members]
    except UnicodeDecodeError:
        raise LocalError("an id of the committee is no text, so policy.toml cannot name it") from None
    text = _edited(_one_shot_allowed(text, policy), "committee", "members", f"[{', '.join(pairs)}]")
    return _edited(text, "committee", "privacy_min", str(least))


def _with_beacon(text: str, policy: Policy, beacon: bytes, force: bool) -> str:
    """The policy file with the beacon of drawn committees, and one-shot rounds allowed.

    Raises:
        ParameterError: no beacon.
        PolicyError: it has another beacon already.
        LocalError: a file that cannot be changed.
    """
    if len(beacon) > 64:
        raise ParameterError(f"a beacon of {len(beacon)} bytes; 1 to 64 are needed")
    if policy.committee.beacon not in (b"", beacon) and not force:
        raise PolicyError(
            "policy.toml has another beacon; whoever may try many draws a committee of its choice: ask your operator "
            "what changed, and repeat with --force (force=True) if that is right"
        )
    return _edited(_one_shot_allowed(text, policy), "committee", "beacon", f'"{beacon.hex()}"')


def _one_shot_allowed(text: str, policy: Policy) -> str:
    if ONESHOT in policy.protocols:
        return text
    listed = ", ".join(f'"{name}"' for name in (*policy.protocols, ONESHOT))
    return _edited(text, None, "protocols", f"[{listed}]")


def _toml(text: str) -> str:
    """The inside of a basic string."""
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)


def _edited(text: str, table: str | None, name: str, literal: str) -> str:
    """A TOML file with one value set in a table (None: on top), and everything else, comments included, as it was.

    Raises:
        LocalError: no way to write it is one line in a place that is known.
    """
    line, header = f"{name} = {literal}", "" if table is None else f"[{table}]\n"
    old, set_ = tomllib.loads(text), tomllib.loads(line)
    wanted = {**old, **set_} if table is None else {**old, table: {**old.get(table, {}), **set_}}
    # The table: from behind its header to the next one.
    start, stop = 0, len(text)
    if table is not None:
        found = re.search(rf"^[ \t]*\[[ \t]*{table}[ \t]*\][ \t]*(#.*)?$\n?", text, flags=re.M)
        start = found.end() if found is not None else stop
    following = re.compile(r"^[ \t]*\[", flags=re.M).search(text, start)
    if following is not None:
        stop = following.start()
    inside, tries = text[start:stop], []
    for there in (rf"^[ \t]*{name}[ \t]*=[^#\n]*?(?=[ \t]*(#.*)?$)", rf"^# {name} = .*$"):
        new, count = re.subn(there, lambda _: line, inside, count=1, flags=re.M)
        tries += [text[:start] + new + text[stop:]] if count else []
    # Behind the header, or on top; and a table that is not there at the end.
    missing = table is not None and table not in old
    apart = "\n" if text and not text.endswith("\n") else ""
    tries.append(f"{text}{apart}{header}{line}\n" if missing else f"{text[:start]}{line}\n{text[start:]}")
    for new in tries:
        with suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(new) == wanted:
                return new
    where = "" if table is None else f" [{table}]"
    raise LocalError(f"policy.toml cannot be changed automatically; write {line} into it{where} by hand")
