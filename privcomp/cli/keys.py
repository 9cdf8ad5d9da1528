"""`privcomp keys`: folders of nodes, servers and parties, the roster, and what one says about itself."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from privcomp.errors import CodecError, ParameterError

__all__ = ["add_parser"]

_HOSTS = ("127.0.0.1", "localhost")


def add_parser(commands: Any) -> None:
    """Enter the command and its parts."""
    keys = commands.add_parser(
        "keys",
        help="make the folders of nodes and servers, and the roster that names them",
        description=(
            "Makes the folder of a node or of a server, and the roster that names all nodes. Private keys never leave "
            "their folder: a node hands over its NAME.pem, the operator hands out the roster and server.pem."
        ),
    )
    parts = keys.add_subparsers(metavar="PART", required=True)

    node = parts.add_parser("node", help="on a node: make its folder (identity, journal, policy.toml)")
    node.add_argument("folder", type=Path, metavar="FOLDER", help="must not exist, or be empty")
    node.add_argument("--id", required=True, metavar="NAME", help="the node's name in the roster, 1 to 64 bytes")
    node.set_defaults(run=_node)

    server = parts.add_parser("server", help="on the server: make its folder (ledger key, ledger, session)")
    server.add_argument("folder", type=Path, metavar="FOLDER", help="must not exist, or be empty")
    server.add_argument(
        "--host",
        action="append",
        metavar="H",
        help=f"DNS name or address under which nodes reach it; may be repeated (default: {' and '.join(_HOSTS)})",
    )
    server.add_argument("--renew", action="store_true", help="new hosts for a folder that is there; its keys stay")
    server.set_defaults(run=_server)

    party = parts.add_parser("party", help="for `privcomp mpc`: make the folder of a party (identity, TLS keys)")
    party.add_argument("folder", type=Path, metavar="FOLDER", help="must not exist, or be empty")
    party.add_argument("--id", required=True, metavar="NAME", help="the party's name, 1 to 64 bytes")
    party.set_defaults(run=_party)

    roster = parts.add_parser("roster", help="at the operator: make the roster from the nodes' certificates")
    roster.add_argument("certificates", type=Path, nargs="+", metavar="NODE.pem", help="one per node")
    roster.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for roster and clients.pem")
    roster.add_argument("--server", type=Path, metavar="FOLDER", help="install both into this server's folder, too")
    roster.set_defaults(run=_roster)

    trust = parts.add_parser("trust", help="on a node: take over roster and server, and pin them in policy.toml")
    trust.add_argument("folder", type=Path, metavar="FOLDER", help="the node's folder")
    trust.add_argument("--roster", type=Path, required=True, metavar="FILE", help="from the operator")
    trust.add_argument("--server-cert", type=Path, required=True, metavar="FILE", help="the server's server.pem")
    trust.add_argument(
        "--committee",
        metavar="ID,ID,...",
        help="allow one-shot rounds, with the shares of this node's keys at these nodes of the roster",
    )
    trust.add_argument(
        "--privacy", type=int, metavar="T", help="corrupt members to withstand (default: a third); with --committee"
    )
    trust.add_argument(
        "--beacon",
        metavar="HEX",
        help="allow one-shot rounds, with the shares of this node's keys at committees that are drawn with this beacon",
    )
    trust.add_argument("--force", action="store_true", help="replace pins that name others")
    trust.set_defaults(run=_trust)

    simulation = parts.add_parser(
        "simulation", help="homes for simulated nodes and their server, on one machine; they protect nobody"
    )
    simulation.add_argument("folder", type=Path, metavar="FOLDER", help="must not exist, or be empty")
    simulation.add_argument("--nodes", type=int, required=True, metavar="N", help="number of nodes, at least 3")
    simulation.add_argument(
        "--committee", metavar="N,N,...", help="nodes (from 0) that hold the shares of keys in one-shot rounds"
    )
    simulation.add_argument("--beacon", metavar="HEX", help="with which the committees of one-shot rounds are drawn")
    simulation.set_defaults(run=_simulation)

    show = parts.add_parser("show", help="print what is public about a folder")
    show.add_argument("folder", type=Path, metavar="FOLDER", help="of a node, a server or a party")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.set_defaults(run=_show)


def _node(arguments: argparse.Namespace) -> int:
    from privcomp.integrations.home import NodeHome, certificate_name

    party = arguments.id.encode("utf-8", "surrogateescape")
    NodeHome.create(arguments.folder, party)
    print(f"{arguments.folder}: keys, journal and policy.toml of {arguments.id!r}")
    print(f"next: read policy.toml, and give {arguments.folder / certificate_name(party)} to the operator")
    return 0


def _party(arguments: argparse.Namespace) -> int:
    from privcomp.integrations.home import PartyHome, certificate_name

    party = arguments.id.encode("utf-8", "surrogateescape")
    PartyHome.create(arguments.folder, party)
    print(f"{arguments.folder}: keys of party {arguments.id!r}")
    print(f"next: give {arguments.folder / certificate_name(party)} to the other parties; all name it in their CONFIG")
    return 0


def _server(arguments: argparse.Namespace) -> int:
    from privcomp.integrations import ServerHome

    hosts = arguments.host or _HOSTS
    if arguments.renew:
        ServerHome.set_hosts(arguments.folder, hosts)
        print(f"{arguments.folder}: the server is now certified for {', '.join(hosts)}; its ledger key is the same")
        return 0
    ServerHome.create(arguments.folder, hosts)
    print(f"{arguments.folder}: ledger key and ledger of a server at {', '.join(hosts)}")
    print(f"next: privcomp keys roster --out DIR --server {arguments.folder} NODE.pem ...")
    return 0


def _roster(arguments: argparse.Namespace) -> int:
    from privcomp.integrations import ServerHome
    from privcomp.integrations.home import make_roster

    files: list[Path] = arguments.certificates
    roster, clients = make_roster({str(path): _read(path) for path in files})
    out: Path = arguments.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "roster").write_bytes(roster.to_bytes())
        (out / "clients.pem").write_bytes(clients)
    except OSError as error:
        raise ParameterError(f"--out {out}: {error.strerror}; name a folder that can be written") from None
    if arguments.server is not None:
        ServerHome.install(arguments.server, roster, clients)
    print(f"{out / 'roster'}: {len(roster)} nodes, hash {roster.hash.hex()}")
    print(f"next, on every node: privcomp keys trust FOLDER --roster {out / 'roster'} --server-cert server.pem")
    return 0


def _trust(arguments: argparse.Namespace) -> int:
    from privcomp.integrations import NodeHome
    from privcomp.integrations.committee import beacon_of

    roster, server = _read(arguments.roster), _read(arguments.server_cert)
    if arguments.privacy is not None and arguments.committee is None:
        raise ParameterError("--privacy is about a committee: name it with --committee")
    members = ids(arguments.committee) if arguments.committee is not None else []
    beacon = beacon_of(arguments.beacon) if arguments.beacon is not None else b""
    NodeHome.trust(
        arguments.folder,
        roster,
        server,
        committee=members,
        privacy=arguments.privacy,
        beacon=beacon,
        force=arguments.force,
    )
    print(f"{arguments.folder}: policy.toml pins this roster and this server")
    if members:
        print(f"one-shot rounds are allowed, with a committee of {len(members)}")
    if beacon:
        print("one-shot rounds are allowed, with committees that are drawn from the roster with this beacon")
    return 0


def ids(text: str) -> list[bytes]:
    """Ids of nodes as a command line has them, with commas.

    Raises:
        ParameterError: an empty one.
    """
    found = [part.strip().encode("utf-8", "surrogateescape") for part in text.split(",")]
    if not all(found):
        raise ParameterError(f"--committee {text!r}: ids of nodes with commas between them are needed")
    return found


def _simulation(arguments: argparse.Namespace) -> int:
    from privcomp.integrations.committee import beacon_of
    from privcomp.integrations.home import make_simulation

    members = [part.decode("utf-8", "replace") for part in ids(arguments.committee)] if arguments.committee else []
    beacon = beacon_of(arguments.beacon) if arguments.beacon is not None else b""
    roster = make_simulation(arguments.folder, map(str, range(arguments.nodes)), committee=members, beacon=beacon)
    print(f"{arguments.folder}: a server and {len(roster)} simulated nodes, whose policies protect nobody")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    facts = _facts(arguments.folder)
    if arguments.json:
        print(json.dumps(facts))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"{name:{width}}  {value if value is not None else '-'}")
    return 0


def _facts(folder: Path) -> dict[str, Any]:
    """What everybody may know, read without taking the folder's lock: it may be shown while a node runs."""
    from privcomp.integrations.home import certificate_name
    from privcomp.integrations.tls import read_identity
    from privcomp.keys import Roster
    from privcomp.policy import Policy

    is_server = (folder / "session").exists()
    party = None if is_server else _read(folder / "id")
    pem = _read(folder / ("server.pem" if party is None else certificate_name(party)))
    _, public = read_identity(pem, f"the certificate in {folder}")
    facts: dict[str, Any] = (
        {"kind": "server"} if party is None else {"kind": "node", "id": party.decode("utf-8", "replace")}
    )
    if party is not None and not (folder / "policy.toml").exists():
        identity = {"identity": public.hex(), "certificate_sha256": hashlib.sha256(pem).hexdigest()}
        return {**facts, "kind": "party", **identity}
    facts["ledger_key" if party is None else "identity"] = public.hex()
    facts["certificate_sha256"] = hashlib.sha256(pem).hexdigest()
    facts["roster_hash"] = facts["roster_size"] = None
    if (folder / "roster").exists():
        try:
            roster = Roster.from_bytes(_read(folder / "roster"))
        except CodecError as error:
            raise ParameterError(f"{folder / 'roster'} is no roster: {error.message}") from None
        facts["roster_hash"], facts["roster_size"] = roster.hash.hex(), len(roster)
    if party is not None:
        policy = Policy.from_toml(_read(folder / "policy.toml").decode("utf-8", "replace"))
        facts["adversary"] = policy.adversary
        facts["pinned_roster"] = policy.roster_hash.hex() if policy.roster_hash is not None else None
        facts["pinned_ledger_key"] = policy.ledger_key.hex() if policy.ledger_key is not None else None
        members = [party.decode("utf-8", "replace") for party, _ in policy.committee.members]
        facts["committee"] = ",".join(members) if members else None
        facts["beacon"] = policy.committee.beacon.hex() or None
    return facts


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror}") from None
