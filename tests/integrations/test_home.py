"""The folders of nodes and servers: made as a whole, private, pinned, and useless without their memory."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privcomp.errors import JournalError, LedgerError, LocalError, ParameterError, PolicyError
from privcomp.integrations import NodeHome, ServerHome
from privcomp.integrations.home import SIMULATED, certificate_name, make_roster, make_simulation
from privcomp.integrations.tls import read_identity
from privcomp.keys import Roster
from privcomp.policy import CommitteePolicy, Policy

NODES = (b"site-1", b"site-2", b"site-3")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    NodeHome.create(tmp_path / "node", NODES[0])
    return tmp_path / "node"


@pytest.fixture
def server(tmp_path: Path) -> Path:
    ServerHome.create(tmp_path / "the server")
    return tmp_path / "the server"


def federation(folder: Path, ids: tuple[bytes, ...] = NODES) -> tuple[Roster, bytes]:
    """Nodes beside one another, and the roster of all."""
    pems = {}
    for party in ids:
        home = folder / party.hex()
        if not home.exists():
            NodeHome.create(home, party)
        pems[party.hex()] = (home / certificate_name(party)).read_bytes()
    return make_roster(pems)


def test_a_new_node_is_whole_and_private(node: Path) -> None:
    assert {path.name for path in node.iterdir()} == {
        *("identity", "id", "site-1.pem", "policy.toml", "journal", "tls.key", "tls.pem")
    }
    for name, mode in (("", 0o700), ("identity", 0o600), ("tls.key", 0o600), ("journal", 0o700)):
        assert stat.S_IMODE((node / name).stat().st_mode) == mode
    assert [path.name for path in node.parent.iterdir()] == ["node"]  # nothing is left of the building
    with NodeHome.open(node) as home:
        assert (home.id, home.policy, home.roster, home.folder) == (NODES[0], Policy(), None, node)
        assert home.journal.identity == home.identity.public
        assert read_identity(home.certificate.read_bytes()) == (home.id, home.identity.public)


def test_a_new_server_is_whole_and_private(server: Path) -> None:
    for name in ("identity", "tls.key", "session"):
        assert stat.S_IMODE((server / name).stat().st_mode) == 0o600
    with ServerHome.open(server) as first:
        assert (len(first.session), len(first.ledger), first.roster) == (32, 0, None)
        assert first.ledger.public == first.identity.public
        assert read_identity(first.certificate.read_bytes()) == (None, first.identity.public)
        session = first.session
    with ServerHome.open(server) as second:
        assert second.session == session


@pytest.mark.parametrize("create", [lambda path: NodeHome.create(path, b"x"), ServerHome.create])
def test_keys_are_never_overwritten(create: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    create(tmp_path / "empty")  # an empty folder is as good as none
    before = {path: path.read_bytes() for path in (tmp_path / "empty").rglob("*") if path.is_file()}
    with pytest.raises(LocalError, match="exists already and is not empty"):
        create(tmp_path / "empty")
    assert {path: path.read_bytes() for path in (tmp_path / "empty").rglob("*") if path.is_file()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LocalError, match="exists already"):
        create(tmp_path / "file")
    with pytest.raises(LocalError, match="cannot be written"):
        create(tmp_path / "file" / "below")


def test_a_crash_while_a_folder_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.rename", full)
    with pytest.raises(LocalError, match="No space left"):
        NodeHome.create(tmp_path / "node", b"x")
    assert list(tmp_path.iterdir()) == []


def test_an_identity_without_its_journal_is_refused_for_ever(node: Path) -> None:
    shutil.rmtree(node / "journal")
    for _ in range(2):
        with pytest.raises(JournalError, match=r"journal of this identity is lost.* refused for ever"):
            NodeHome.open(node)
    assert not (node / "journal").exists()


def test_the_journal_of_another_identity_is_refused(node: Path, tmp_path: Path) -> None:
    NodeHome.create(tmp_path / "other", NODES[0])
    shutil.rmtree(node / "journal")
    shutil.copytree(tmp_path / "other" / "journal", node / "journal")
    with pytest.raises(JournalError, match="another identity"):
        NodeHome.open(node)


def test_a_server_without_its_ledger_is_refused(server: Path) -> None:
    (server / "ledger").unlink()
    with pytest.raises(LedgerError, match="the ledger is lost"):
        ServerHome.open(server)
    assert not (server / "ledger").exists()


@pytest.mark.parametrize("name", ["identity", "tls.key", "journal"])
def test_secrets_that_others_can_read_are_refused(name: str, node: Path) -> None:
    path = node / name
    path.chmod(path.stat().st_mode | 0o040)
    with pytest.raises(LocalError, match=f"run `chmod [67]00 {path}`"):
        NodeHome.open(node)
    path.chmod(path.stat().st_mode & ~0o077)
    NodeHome.open(node).close()


def test_secrets_of_a_server_that_others_can_read_are_refused(server: Path) -> None:
    for name in ("identity", "tls.key", "session"):
        (server / name).chmod(0o604)
        with pytest.raises(LocalError, match="run `chmod 600"):
            ServerHome.open(server)
        (server / name).chmod(0o600)


def test_a_policy_that_others_can_change_is_refused(node: Path) -> None:
    (node / "policy.toml").chmod(0o664)
    with pytest.raises(LocalError, match="chmod go-w"):
        NodeHome.open(node)


def test_one_process_at_a_time(node: Path, server: Path) -> None:
    with NodeHome.open(node), pytest.raises(JournalError, match="another process holds"):
        NodeHome.open(node)
    NodeHome.open(node).close()
    with ServerHome.open(server), pytest.raises(LedgerError, match="one writer"):
        ServerHome.open(server)


def test_folders_that_are_something_else(node: Path, server: Path, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="is not the folder of a node"):
        NodeHome.open(tmp_path)
    with pytest.raises(LocalError, match="is not the folder of a node"):
        NodeHome.open(server)
    with pytest.raises(LocalError, match="is not the folder of a server"):
        ServerHome.open(node)
    (node / "identity").write_text("no key")
    with pytest.raises(LocalError, match="is damaged"):
        NodeHome.open(node)
    (server / "session").write_bytes(bytes(31))
    with pytest.raises(LocalError, match="31 bytes, not 32"):
        ServerHome.open(server)


# ---- roster and trust


def test_trust_pins_roster_and_server(tmp_path: Path, server: Path) -> None:
    roster, pem = federation(tmp_path)
    ServerHome.install(server, roster, pem)
    folder = tmp_path / NODES[0].hex()
    text = (folder / "policy.toml").read_text()
    mine = text.replace("# corrupt = 5", "corrupt = 1  # one of us").replace("# statistics = 0", "statistics = 2")
    (folder / "policy.toml").write_text("# my own words\n" + mine)
    certificate = (server / "server.pem").read_bytes()
    for _ in range(2):  # a repeat changes nothing
        NodeHome.trust(folder, (server / "roster").read_bytes(), certificate)
        with NodeHome.open(folder) as home, ServerHome.open(server) as served:
            assert served.roster == home.roster == roster
            assert home.policy == Policy(
                corrupt=1,
                same_model_reentries=(("statistics", 2),),
                roster_hash=roster.hash,
                ledger_key=served.ledger.public,
            )
            assert home.client().id == NODES[0]
        now = (folder / "policy.toml").read_text()
        assert now.startswith("# my own words\n")
        assert "corrupt = 1  # one of us" in now
        changed = set(now.splitlines()) ^ set(("# my own words\n" + mine).splitlines())
        assert all("roster_hash" in line or "ledger_key" in line for line in changed), changed


@pytest.mark.parametrize(
    "text", ["", "clients_min = 4\n", "[same_model_reentries]\nstatistics = 1", 'purposes = [\n"a",\n]']
)
def test_pins_go_into_any_policy_file(text: str, tmp_path: Path, server: Path) -> None:
    roster, _ = federation(tmp_path)
    folder = tmp_path / NODES[0].hex()
    (folder / "policy.toml").write_text(text)
    NodeHome.trust(folder, roster.to_bytes(), (server / "server.pem").read_bytes())
    with NodeHome.open(folder) as home:
        before = Policy.from_toml(text)
        assert home.policy.roster_hash == roster.hash
        assert (home.policy.clients_min, home.policy.purposes) == (before.clients_min, before.purposes)
        assert home.policy.same_model_reentries == before.same_model_reentries


def test_pins_are_not_changed_in_silence(tmp_path: Path, server: Path) -> None:
    roster, _ = federation(tmp_path)
    folder, certificate = tmp_path / NODES[0].hex(), (server / "server.pem").read_bytes()
    NodeHome.trust(folder, roster.to_bytes(), certificate)
    larger, _ = federation(tmp_path, (*NODES, b"site-4"))
    ServerHome.create(tmp_path / "another server")
    other = (tmp_path / "another server" / "server.pem").read_bytes()
    before = (folder / "policy.toml").read_text()
    with pytest.raises(PolicyError, match="pins another roster_hash"):
        NodeHome.trust(folder, larger.to_bytes(), certificate)
    with pytest.raises(PolicyError, match="pins another ledger_key"):
        NodeHome.trust(folder, roster.to_bytes(), other)
    assert (folder / "policy.toml").read_text() == before
    assert (folder / "roster").read_bytes() == roster.to_bytes()
    NodeHome.trust(folder, larger.to_bytes(), other, force=True)
    with NodeHome.open(folder) as home:
        assert home.roster == larger
        assert home.policy.ledger_key == read_identity(other)[1]


def test_what_trust_refuses(tmp_path: Path, server: Path, node: Path) -> None:
    roster, _ = federation(tmp_path, NODES[1:])
    certificate = (server / "server.pem").read_bytes()
    with pytest.raises(ParameterError, match="does not name this node"):
        NodeHome.trust(node, roster.to_bytes(), certificate)
    namesake, _ = federation(tmp_path)  # site-1 of another folder, with another key
    with pytest.raises(ParameterError, match="another key for b'site-1'"):
        NodeHome.trust(node, namesake.to_bytes(), certificate)
    with pytest.raises(ParameterError, match="is no roster"):
        NodeHome.trust(node, b"not one", certificate)
    own, _ = make_roster({"it": (node / "site-1.pem").read_bytes()})
    with pytest.raises(ParameterError, match="the certificate of node b'site-1'"):
        NodeHome.trust(node, own.to_bytes(), (node / "site-1.pem").read_bytes())
    with pytest.raises(ParameterError, match="no PEM certificate"):
        NodeHome.trust(node, own.to_bytes(), b"")
    assert not (node / "roster").exists()


def test_a_roster_that_is_not_the_pinned_one_is_refused(tmp_path: Path, server: Path) -> None:
    roster, _ = federation(tmp_path)
    folder = tmp_path / NODES[0].hex()
    NodeHome.trust(folder, roster.to_bytes(), (server / "server.pem").read_bytes())
    larger, _ = federation(tmp_path, (*NODES, b"site-4"))
    (folder / "roster").write_bytes(larger.to_bytes())
    with pytest.raises(PolicyError, match="not the roster that policy"):
        NodeHome.open(folder)
    (folder / "roster").unlink()
    with pytest.raises(PolicyError, match="pins a roster, and there is none"):
        NodeHome.open(folder)


def test_a_node_without_a_roster_works_only_if_its_policy_says_so(node: Path) -> None:
    with NodeHome.open(node) as home, pytest.raises(PolicyError, match="has no roster"):
        home.client()
    text = (node / "policy.toml").read_text().replace('adversary = "malicious"', 'adversary = "semi_honest"')
    (node / "policy.toml").write_text(text)
    with NodeHome.open(node) as home:
        assert home.client().id == NODES[0]


def test_rosters_are_the_same_in_any_order(tmp_path: Path) -> None:
    roster, pem = federation(tmp_path)
    again, other = federation(tmp_path, NODES[::-1])
    assert (roster, pem) == (again, other)
    assert roster.ids == tuple(sorted(NODES))


def test_what_a_roster_refuses(tmp_path: Path, server: Path, node: Path) -> None:
    own = (node / "site-1.pem").read_bytes()
    with pytest.raises(ParameterError, match="b is no PEM"):
        make_roster({"a": own, "b": b"-----BEGIN CERTIFICATE-----"})
    with pytest.raises(ParameterError, match="a server's certificate"):
        make_roster({"a": (server / "server.pem").read_bytes()})
    with pytest.raises(ParameterError, match="b and a are both of node"):
        make_roster({"a": own, "b": own})
    with pytest.raises(ParameterError, match="2 certificates"):
        make_roster({"a": (node / "tls.pem").read_bytes()})
    transport = (node / "tls.pem").read_bytes().split(b"-----BEGIN")[1]
    with pytest.raises(ParameterError, match="not an identity certificate"):
        make_roster({"a": b"-----BEGIN" + transport})


@pytest.mark.parametrize(
    ("party", "name"),
    [
        (b"hospital-7", "hospital-7.pem"),
        (b"../up", "id-2e2e2f7570.pem"),
        (b".hidden", "id-2e68696464656e.pem"),
        (b"server", "id-736572766572.pem"),
        ("Zürich".encode(), "id-5ac3bc72696368.pem"),
        (b"\0" * 64, f"id-{'00' * 64}.pem"),
    ],
)
def test_every_id_is_possible(party: bytes, name: str, tmp_path: Path) -> None:
    NodeHome.create(tmp_path / "node", party)
    with NodeHome.open(tmp_path / "node") as home:
        assert home.id == party
        assert home.certificate.name == name
        assert read_identity(home.certificate.read_bytes()) == (party, home.identity.public)


def test_ids_that_are_none(tmp_path: Path) -> None:
    for party in (b"", b"x" * 65):
        with pytest.raises(ParameterError, match="1 to 64 bytes"):
            NodeHome.create(tmp_path / "node", party)
    assert os.listdir(tmp_path) == []


def test_other_hosts_keep_the_identity(server: Path) -> None:
    before = {name: (server / name).read_bytes() for name in ("identity", "server.pem", "session")}
    ServerHome.set_hosts(server, ["federation.example", "192.0.2.7", "::1"])
    assert {name: (server / name).read_bytes() for name in before} == before
    assert stat.S_IMODE((server / "tls.key").stat().st_mode) == 0o600
    with pytest.raises(ParameterError, match="neither a DNS name nor an IP address"):
        ServerHome.set_hosts(server, ["a" * 300])


def test_homes_of_a_simulation(tmp_path: Path) -> None:
    roster = make_simulation(tmp_path / "homes", map(str, range(3)))
    assert roster.ids == tuple(SIMULATED + str(k).encode() for k in range(3))
    with ServerHome.open(tmp_path / "homes" / "server") as server:
        assert server.roster == roster
        for k in range(3):
            with NodeHome.open(tmp_path / "homes" / str(k)) as home:
                assert (home.id, home.roster) == (roster.ids[k], roster)
                assert (home.policy.roster_hash, home.policy.ledger_key) == (roster.hash, server.identity.public)
                assert home.policy.adversary == "semi_honest"
                assert home.policy.reentries("training") > 1000
                home.client()
    with pytest.raises(LocalError, match="exists already"):
        make_simulation(tmp_path / "homes", map(str, range(3)))
    with pytest.raises(ParameterError, match="at least 3"):
        make_simulation(tmp_path / "two", map(str, range(2)))


# ---- committees


MEMBERS = tuple(f"site-{k}".encode() for k in range(1, 6))


@pytest.mark.parametrize(
    "text",
    [
        Policy.default_toml(),
        "",
        "clients_min = 4\n[same_model_reentries]\nstatistics = 1",
        'protocols = ["oneshot"]  # alone\n[committee]\nbits_max = 20',
        "[committee]  # ours\nprivacy_min = 1 # one\n[same_model_reentries]\n# members = []\n",
        "committee.bits_max = 20\n",
    ],
    ids=range(6),
)
def test_trust_writes_the_committee_into_any_policy_file(text: str, tmp_path: Path, server: Path) -> None:
    roster, _ = federation(tmp_path, MEMBERS)
    folder, certificate = tmp_path / MEMBERS[0].hex(), (server / "server.pem").read_bytes()
    (folder / "policy.toml").write_text(text)
    before = Policy.from_toml(text)
    if text.startswith("committee."):
        with pytest.raises(LocalError, match=r"write members = .* into it \[committee\] by hand"):
            NodeHome.trust(folder, roster.to_bytes(), certificate, committee=MEMBERS[1:])
        assert (folder / "policy.toml").read_text() == text
        return
    NodeHome.trust(folder, roster.to_bytes(), certificate, committee=reversed(MEMBERS[1:]))
    with NodeHome.open(folder) as home:
        own = home.policy
    assert own.protocols == tuple(dict.fromkeys((*before.protocols, "oneshot")))
    assert own.committee.members == tuple((party, roster.public(party)) for party in MEMBERS[1:])
    assert own.committee == replace(before.committee, members=own.committee.members, privacy_min=1)
    kept = {"protocols": before.protocols, "roster_hash": None, "ledger_key": None, "committee": before.committee}
    assert replace(own, **kept) == before  # type: ignore[arg-type]
    now = (folder / "policy.toml").read_text()
    for comment in re.findall(r"#.*[a-z]{3}.*$", text, flags=re.M):
        assert comment in now or " = " in comment


def test_a_committee_is_not_changed_in_silence(tmp_path: Path, server: Path) -> None:
    """Not another one, not fewer corrupt members; and without a word about it nothing changes."""
    roster, _ = federation(tmp_path, (*MEMBERS, b"site-6", b"site-7"))
    folder, certificate = tmp_path / MEMBERS[0].hex(), (server / "server.pem").read_bytes()

    def trust(*members: bytes, **options: Any) -> CommitteePolicy:
        NodeHome.trust(folder, roster.to_bytes(), certificate, committee=members, **options)
        with NodeHome.open(folder) as home:
            return home.policy.committee

    first = trust(*roster.ids, privacy=3)
    assert first.privacy_min == 3
    with pytest.raises(PolicyError, match="names another committee"):
        trust(*roster.ids[1:])
    assert trust() == first
    assert trust(*roster.ids, privacy=1) == first
    assert trust(*roster.ids[1:], force=True).privacy_min == 1
    for members, privacy, said in (
        ((*MEMBERS[:3], b"stranger"), None, "b'stranger', which is not in the roster"),
        ((*MEMBERS[:3], MEMBERS[0]), None, "names b'site-1' twice"),
        (MEMBERS[:3], None, "a committee of 3: 4 members at least"),
        (MEMBERS, 0, "every single member could read every key"),
        (MEMBERS, 4, "members must answer, but it has 5; lower t_p"),
    ):
        with pytest.raises(ParameterError, match=re.escape(said)):
            trust(*members, privacy=privacy, force=True)


def test_ids_of_all_kinds_stand_in_a_policy(tmp_path: Path, server: Path) -> None:
    ids = (b'a"b', b"c\\d", "ü\n".encode(), b"[e]")
    roster, _ = federation(tmp_path, ids)
    folder, certificate = tmp_path / ids[0].hex(), (server / "server.pem").read_bytes()
    NodeHome.trust(folder, roster.to_bytes(), certificate, committee=ids)
    with NodeHome.open(folder) as home:
        assert tuple(party for party, _ in home.policy.committee.members) == roster.ids
    other, _ = federation(tmp_path, (*ids, b"\xff\xfe"))
    with pytest.raises(LocalError, match="is no text"):
        NodeHome.trust(folder, other.to_bytes(), certificate, committee=other.ids, force=True)


def test_a_simulation_with_a_committee(tmp_path: Path) -> None:
    roster = make_simulation(tmp_path / "sim", map(str, range(5)), committee=["0", "1", "2", "4"])
    with NodeHome.open(tmp_path / "sim" / "3") as home:
        assert "oneshot" in home.policy.protocols
        members = tuple(party for party, _ in home.policy.committee.members)
    assert members == tuple(SIMULATED + name for name in (b"0", b"1", b"2", b"4"))
    assert set(members) < set(roster.ids)
    with pytest.raises(ParameterError, match="is not in the roster"):
        make_simulation(tmp_path / "other", map(str, range(5)), committee=["0", "1", "2", "7"])
    assert not (tmp_path / "other").exists()
