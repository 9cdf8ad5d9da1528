"""`privcomp keys` as nodes and their operator use it, from two folders to a federation that trusts itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from privcomp.integrations import NodeHome, ServerHome
from privcomp.keys import Roster
from tests.test_cli import refused, run

NAMES = ("north", "south", "west")


def well(*arguments: str | Path) -> str:
    result = run("keys", *arguments)
    assert (result.code, result.err) == (0, "")
    return result.out


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Three nodes and a server with its roster."""
    for name in NAMES:
        well("node", tmp_path / name, "--id", name)
    well("server", tmp_path / "server")
    pems = [tmp_path / name / f"{name}.pem" for name in NAMES]
    well("roster", "--out", tmp_path / "public", *pems, "--server", tmp_path / "server")
    return tmp_path


def test_from_nothing_to_a_federation(made: Path) -> None:
    roster = made / "public" / "roster"
    for name in NAMES:
        well("trust", made / name, "--roster", roster, "--server-cert", made / "server" / "server.pem")
        with NodeHome.open(made / name) as node, ServerHome.open(made / "server") as server:
            assert node.roster == server.roster == Roster.from_bytes(roster.read_bytes())
            assert node.policy.ledger_key == server.ledger.public
    assert (made / "server" / "clients.pem").read_bytes() == (made / "public" / "clients.pem").read_bytes()


def test_what_is_shown_is_public(made: Path) -> None:
    shown = json.loads(well("show", made / "north", "--json"))
    with NodeHome.open(made / "north") as node:
        well("show", made / "north")  # while it is in use
        assert shown["identity"] == node.identity.public.hex()
        secret = node.identity.seed_bytes().hex()
    assert (shown["kind"], shown["id"], shown["pinned_roster"]) == ("node", "north", None)
    server = json.loads(well("show", made / "server", "--json"))
    assert (server["kind"], server["roster_size"]) == ("server", 3)
    well(
        "trust", made / "north", "--roster", made / "public" / "roster", "--server-cert", made / "server" / "server.pem"
    )
    shown = json.loads(well("show", made / "north", "--json"))
    assert shown["pinned_roster"] == shown["roster_hash"] == server["roster_hash"]
    assert shown["pinned_ledger_key"] == server["ledger_key"]
    text = well("show", made / "north")
    assert shown["identity"] in text
    assert secret not in text


def test_hosts_are_renewed_without_new_keys(made: Path) -> None:
    before = (made / "server" / "server.pem").read_bytes()
    assert "federation.example" in well("server", made / "server", "--renew", "--host", "federation.example")
    assert (made / "server" / "server.pem").read_bytes() == before


def test_what_is_refused(made: Path) -> None:
    north, server = made / "north", made / "server"
    assert "is not empty" in refused("keys", "node", north, "--id", "north")
    assert "is not empty" in refused("keys", "server", server)
    assert "1 to 64 bytes" in refused("keys", "node", made / "new", "--id", "")
    assert "neither a DNS name nor" in refused("keys", "server", made / "new", "--host", "a" * 99)
    assert "is not the folder of a server" in refused("keys", "server", north, "--renew")
    assert "--id" in refused("keys", "node", made / "new")
    out = made / "out"
    pem = north / "north.pem"
    assert "cannot be read" in refused("keys", "roster", "--out", out, made / "nowhere.pem")
    assert "both of node b'north'" in refused(
        "keys", "roster", "--out", out, pem, made / "north" / ".." / "north" / "north.pem"
    )
    assert "a server's certificate" in refused("keys", "roster", "--out", out, server / "server.pem")
    assert "no PEM certificate" in refused("keys", "roster", "--out", out, north / "policy.toml")
    assert "name a folder that can be written" in refused("keys", "roster", "--out", pem, pem)
    assert "is not the folder of a server" in refused("keys", "roster", "--out", out, pem, "--server", north)
    roster, certificate = made / "public" / "roster", server / "server.pem"
    assert "this is no roster" in refused("keys", "trust", north, "--roster", pem, "--server-cert", certificate)
    assert "certificate of node" in refused("keys", "trust", north, "--roster", roster, "--server-cert", pem)
    assert "is not the folder of a node" in refused("keys", "trust", server, "--roster", roster, "--server-cert", pem)
    assert "cannot be read" in refused("keys", "show", made)
    assert "PART" in refused("keys")


def test_pins_change_only_with_force(made: Path) -> None:
    north = made / "north"
    with_roster = "--roster", made / "public" / "roster"
    well("trust", north, *with_roster, "--server-cert", made / "server" / "server.pem")
    well("server", made / "other")
    other = "--server-cert", made / "other" / "server.pem"
    assert "pins another ledger_key" in refused("keys", "trust", north, *with_roster, *other)
    well("trust", north, *with_roster, *other, "--force")


def test_a_committee_is_named_by_its_ids(tmp_path: Path) -> None:
    names = [*NAMES, "east"]
    for name in names:
        well("node", tmp_path / name, "--id", name)
    well("server", tmp_path / "server")
    well("roster", "--out", tmp_path / "public", *[tmp_path / name / f"{name}.pem" for name in names])
    trust = "--roster", tmp_path / "public" / "roster", "--server-cert", tmp_path / "server" / "server.pem"
    north = tmp_path / "north"
    for members, said in (
        ("north,south,west", "a committee of 3"),
        ("north,south,west,home", "b'home', which is not in the roster"),
        ("north,,west,east", "with commas between them"),
    ):
        assert said in refused("keys", "trust", north, *trust, "--committee", members)
    assert "--privacy is about a committee" in refused("keys", "trust", north, *trust, "--privacy", "1")
    assert json.loads(well("show", north, "--json"))["committee"] is None
    said = well("trust", north, *trust, "--committee", "north, south, west, east", "--privacy", "1")
    assert "a committee of 4" in said
    assert json.loads(well("show", north, "--json"))["committee"] == "east,north,south,west"


def test_a_beacon_is_trusted_once(tmp_path: Path) -> None:
    for name in NAMES:
        well("node", tmp_path / name, "--id", name)
    well("server", tmp_path / "server")
    well("roster", "--out", tmp_path / "public", *[tmp_path / name / f"{name}.pem" for name in NAMES])
    trust = "--roster", tmp_path / "public" / "roster", "--server-cert", tmp_path / "server" / "server.pem"
    north = tmp_path / "north"
    assert "1 to 64 bytes" in refused("keys", "trust", north, *trust, "--beacon", "north")
    assert "committees that are drawn" in well("trust", north, *trust, "--beacon", "0BADCAFE")
    assert json.loads(well("show", north, "--json"))["beacon"] == "0badcafe"
    well("trust", north, *trust, "--beacon", "0badcafe")
    assert "has another beacon" in refused("keys", "trust", north, *trust, "--beacon", "0badcaff")
    well("trust", north, *trust, "--beacon", "0badcaff", "--force")
    assert json.loads(well("show", north, "--json"))["beacon"] == "0badcaff"
    policy = (north / "policy.toml").read_text("utf-8")
    assert policy.count("beacon = ") == 1
    well("simulation", tmp_path / "sim", "--nodes", "3", "--beacon", "abcd")
    assert json.loads(well("show", tmp_path / "sim" / "0", "--json"))["beacon"] == "abcd"


def test_a_new_roster_takes_a_new_beacon(tmp_path: Path) -> None:
    """Who joins knows the old one, and would choose its key until the draw suits it."""
    names = [*NAMES, "east"]
    for name in names:
        well("node", tmp_path / name, "--id", name)
    well("server", tmp_path / "server")
    north, certificate = tmp_path / "north", ("--server-cert", tmp_path / "server" / "server.pem")
    for out, listed in (("old", NAMES), ("new", names)):
        well("roster", "--out", tmp_path / out, *[tmp_path / name / f"{name}.pem" for name in listed])
    well("trust", north, "--roster", tmp_path / "old" / "roster", *certificate, "--beacon", "0badcafe")
    before = (north / "policy.toml").read_text("utf-8")
    new = "trust", north, "--roster", tmp_path / "new" / "roster", *certificate, "--force"
    for again in ((), ("--beacon", "0badcafe")):
        assert "made with the new roster" in refused("keys", *new, *again)
    assert (north / "policy.toml").read_text("utf-8") == before
    well(*new, "--beacon", "0badcaff")
    shown = json.loads(well("show", north, "--json"))
    assert (shown["beacon"], shown["roster_size"]) == ("0badcaff", len(names))


def test_a_simulation_with_a_committee(tmp_path: Path) -> None:
    well("simulation", tmp_path / "sim", "--nodes", "5", "--committee", "0,1,2,3")
    shown = json.loads(well("show", tmp_path / "sim" / "4", "--json"))
    assert shown["committee"] == ",".join(f"simulation-{k}" for k in range(4))
    assert "not in the roster" in refused(
        "keys", "simulation", tmp_path / "o", "--nodes", "4", "--committee", "1,2,3,4"
    )
