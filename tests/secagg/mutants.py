"""Evidence that the attack tests test: each check is taken out, alone, and its named test must fail.

    python -m tests.secagg.mutants [--only 1,2,20,24,24b,32]

A mutant is a copy of the package in which one piece of source, that must occur exactly once, is replaced. The exit
status is 1 if a mutant survives (its test still passes) or a piece of source is not found any more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
CLIENT, RULES, CONTEXT, SERVER, LEAVES = (
    f"secagg/{name}.py" for name in ("client", "rules", "context", "server", "leaves")
)
VIEWS, REPEATS, PEERS, WIRE = (f"tests/secagg/test_attacks_{name}.py" for name in ("views", "repeats", "peers", "wire"))
ROUNDS = "tests/rounds/test_rounds.py"


@dataclass(frozen=True)
class Mutant:
    """One check that is taken out.

    Attributes:
        attack: number in the list of attacks (or the rule).
        check: what is removed, in words.
        file: in the package.
        old, new: source.
        tests: pytest ids of which each must fail.
    """

    attack: str
    check: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


SAME_REQUEST = "if entry.request != _request_hash(request, message):"
MUTANTS = (
    Mutant(
        "1",
        "a stage is answered for one request only",
        CLIENT,
        SAME_REQUEST,
        "if False:",
        (
            f"{REPEATS}::test_attack_01_both_shares_of_one_peer_in_two_requests",
            f"{REPEATS}::test_attack_01_both_shares_of_one_peer_after_a_restart",
        ),
    ),
    Mutant(
        "1",
        "a stage is journaled once",
        "journal.py",
        "if self.find(round_digest, stage) is not None:",
        "if False:",
        (
            f"{REPEATS}::test_attack_01_both_shares_of_one_peer_from_a_copy_of_the_state",
            f"{REPEATS}::test_attack_23_two_inputs_from_a_used_state_or_a_copy",
            f"{VIEWS}::test_attack_24b_two_consistency_signatures_in_one_round",
        ),
    ),
    Mutant(
        "2",
        "q signatures over the survivors",
        RULES,
        "if good < need:",
        "if False:",
        (
            f"{VIEWS}::test_attack_02_split_views_of_the_survivors_find_no_quorum",
            f"{VIEWS}::test_attack_02_split_views_of_u2_find_no_quorum",
        ),
    ),
    Mutant(
        "2",
        "signatures of the quorum verify over exactly (U2, U)",
        RULES,
        'if not signed_by(public, entry.signature, "consistency", directory.context, directory.hash, body):',
        "if False:",
        (f"{VIEWS}::test_attack_02_signatures_over_different_views_do_not_add_up",),
    ),
    Mutant(
        "2",
        "a signer counts once",
        RULES,
        "if entry.signer <= last or entry.signer >= directory.n:",
        "if entry.signer >= directory.n:",
        (f"{VIEWS}::test_attack_02_signatures_over_different_views_do_not_add_up",),
    ),
    Mutant(
        "3",
        "rule 2: 2t > n + c for the node's own c",
        RULES,
        "policy.require(2 * t.threshold > n + c,",
        "policy.require(True,",
        (f"{VIEWS}::test_attack_03_thresholds_are_recomputed_from_the_key_list",),
    ),
    Mutant(
        "3",
        "an explicit t is at least the least one",
        "secagg/params.py",
        "if threshold < least:",
        "if False:",
        (f"{VIEWS}::test_attack_03_thresholds_of_the_server_s_choosing",),
    ),
    Mutant(
        "4",
        "model bytes have the announced hash",
        CLIENT,
        "if sha256(message.model).digest() != context.announce.model_hash:",
        "if False:",
        (f"{VIEWS}::test_attack_04_other_model_bytes_for_one_client",),
    ),
    Mutant(
        "5",
        "entries are those of the neighbours that the list gives",
        CONTEXT,
        "if list(directory.entries) != sorted(directory.neighbours(mine) | {mine}):",
        "if False:",
        (f"{VIEWS}::test_attack_05_neighbours_follow_from_the_hash_of_all_keys",),
    ),
    Mutant(
        "5",
        "entries are those of the hashed list",
        CONTEXT,
        "if len(found) != len(entries) or [leaves.hash(p) for p in found] != hashes:",
        "if len(found) != len(entries):",
        (f"{VIEWS}::test_attack_05_neighbours_follow_from_the_hash_of_all_keys",),
    ),
    Mutant(
        "5",
        "identities are those of the roster",
        CONTEXT,
        "if roster.public(who) != message.identity:",
        "if False:",
        (f"{VIEWS}::test_attack_05_sybils_are_not_in_the_roster",),
    ),
    Mutant(
        "6",
        "a message belongs to this round",
        CONTEXT,
        'raise RemoteError(who, "advertise", "the message belongs to another round")',
        "pass",
        (f"{REPEATS}::test_attack_06_replay_of_another_round_s_requests_to_a_client",),
    ),
    Mutant(
        "7",
        "own entry is in the list, unchanged",
        CONTEXT,
        "if mine is None or directory.entries[mine] != own:",
        "if mine is None:",
        (f"{VIEWS}::test_attack_07_own_entry_missing_or_changed",),
    ),
    Mutant(
        "7",
        "ids are strictly ascending",
        LEAVES,
        "if not np.all(keys[:-1] < keys[1:]):",
        "if False:",
        (
            f"{VIEWS}::test_attack_07_duplicate_and_unsorted_ids",
            f"{VIEWS}::test_attack_07_a_sparse_list_that_is_not_the_one_of_its_clients",
        ),
    ),
    Mutant(
        "7",
        "a list has one encoding",
        LEAVES,
        "if longest != self._width or shortest < 1 or np.any(ids * padded):",
        "if False:",
        (f"{VIEWS}::test_attack_07_a_sparse_list_that_is_not_the_one_of_its_clients",),
    ),
    Mutant(
        "7",
        "no key is listed twice",
        CONTEXT,
        "if value in seen:",
        "if False:",
        (f"{VIEWS}::test_attack_07_a_lying_server_lists_one_key_twice[mask_key]",),
    ),
    Mutant(
        "7",
        "the server takes a key once",
        SERVER,
        "if clash is not None:",
        "if False:",
        (f"{VIEWS}::test_attack_07_two_clients_with_one_key[mask_key]",),
    ),
    Mutant(
        "7",
        "the keys of one client differ",
        CONTEXT,
        "if len(set(values)) != len(values):",
        "if False:",
        (f"{VIEWS}::test_attack_07_a_bad_advertisement_drops_one_client[equal keys]",),
    ),
    Mutant(
        "8",
        "X25519 keys are canonical and of large order",
        CONTEXT,
        "keys.x25519_check_public(message.mask_key)",
        "pass",
        (f"{PEERS}::test_attack_08_low_order_and_non_canonical_keys",),
    ),
    Mutant(
        "9",
        "shares are signed by their owner",
        CLIENT,
        'if not signed_by(peer.identity, pair.signature, "pair", context, directory.hash, body):',
        "if False:",
        (f"{PEERS}::test_attack_09_a_colluder_s_bundle_that_its_signature_does_not_cover",),
    ),
    Mutant(
        "11, 25",
        "rule 4: |U| - c honest survivors",
        RULES,
        "len(u) - c >= least,",
        "True,",
        (
            f"{VIEWS}::test_attack_11_server_cannot_lower_the_local_minimum",
            f"{VIEWS}::test_attack_25_two_honest_clients_left_among_colluders",
        ),
    ),
    Mutant(
        "19",
        "shares are checked against their owner's signature",
        SERVER,
        "if check_share(share.share) and signed_by(",
        "if True or signed_by(",
        (f"{PEERS}::test_attack_19_a_peer_s_wrong_share_is_named_and_left_out",),
    ),
    Mutant(
        "20",
        "rule 4: t neighbours of the victim survive",
        RULES,
        "if near < t:",
        "if False:",
        (
            f"{VIEWS}::test_attack_20_survivors_without_the_victim_s_neighbours",
            f"{VIEWS}::test_attack_20_in_a_sparse_graph",
        ),
    ),
    Mutant(
        "20",
        "rule 4: own id among the survivors",
        RULES,
        "if me not in u:",
        "if False:",
        (f"{VIEWS}::test_attack_20_in_a_sparse_graph", f"{VIEWS}::test_rule_4_survivors_are_those_who_masked"),
    ),
    Mutant(
        "20",
        "rule 4: U inside of U2",
        RULES,
        "if not u <= u2:",
        "if False:",
        (f"{VIEWS}::test_rule_4_survivors_are_those_who_masked",),
    ),
    Mutant(
        "22",
        "no session that trusts the server",
        RULES,
        "p.adversary == MALICIOUS or policy.adversary == SEMI_HONEST,",
        "True,",
        (f"{REPEATS}::test_attack_22_downgrade[semi-honest]",),
    ),
    Mutant(
        "22",
        "an announced graph costs bounded work",
        "secagg/params.py",
        "if self.gamma_ppm + self.delta_ppm > 500_000:",
        "if False:",
        (f"{REPEATS}::test_announced_fractions_that_would_cost_unbounded_work_are_refused_at_once[1-500000]",),
    ),
    Mutant(
        "22",
        "purposes are a closed list",
        RULES,
        "policy.require(a.purpose in policy.purposes,",
        "policy.require(True,",
        (f"{REPEATS}::test_attack_22_other_purpose_or_roster",),
    ),
    Mutant(
        "23",
        "secrets fit the journal",
        "journal.py",
        "if last is None or last.hash != stored[0]:",
        "if False:",
        (
            f"{REPEATS}::test_attack_23_rollback_of_secrets_or_journal_alone[mask-secrets_alone]",
            "tests/test_journal.py::test_secrets_must_fit_the_last_entry_of_their_round",
        ),
    ),
    Mutant(
        "23",
        "a journal file that is older than its mark is refused",
        "integrations/file_journal.py",
        "if count > len(entries) or (count and entries[count - 1].hash != mark[8:]):",
        "if False:",
        (
            "tests/integrations/test_file_journal.py::test_attack_23_rollback_of_the_journal_alone",
            "tests/integrations/test_file_journal.py::test_attack_23_another_history_of_the_same_length",
        ),
    ),
    Mutant(
        "23",
        "damage of a length is no torn write",
        "integrations/file_journal.py",
        "if size ^ complement != 0xFFFFFFFF or size > _MAX_ENTRY:",
        "if False:",
        ("tests/integrations/test_file_journal.py::test_a_flipped_bit_in_the_last_length_is_no_torn_write",),
    ),
    Mutant(
        "23",
        "a stored answer is compared with its hash",
        "integrations/file_journal.py",
        "if response_hash(self._messages(entry)) != entry.response:",
        "if False:",
        ("tests/integrations/test_file_journal.py::test_a_stored_answer_with_one_flipped_byte_is_not_sent",),
    ),
    Mutant(
        "23",
        "one process per journal",
        "integrations/file_journal.py",
        "fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        ("tests/integrations/test_file_journal.py::test_attack_23_two_processes_with_one_identity",),
    ),
    Mutant(
        "23",
        "a (session, round) is announced once",
        CLIENT,
        "if entry.round_digest != context.digest:",
        "if False:",
        (f"{REPEATS}::test_attack_23_two_announcements_of_one_round",),
    ),
    Mutant(
        "24",
        "rule 6: one answered survivor set per model",
        RULES,
        "if answered > self._policy.reentries(a.purpose):",
        "if False:",
        (
            f"{REPEATS}::test_attack_24_abort_and_retry_without_one_client",
            f"{REPEATS}::test_attack_24_the_same_model_in_another_session_or_purpose",
            f"{REPEATS}::test_attack_24_two_rounds_the_older_one_answered_first",
            f"{REPEATS}::test_attack_12_subset_difference_on_the_same_model",
        ),
    ),
    Mutant(
        "24",
        "rule 6: masking in a newer round closes the older ones",
        RULES,
        "if a.round <= newest:",
        "if False:",
        (
            f"{REPEATS}::test_attack_24_two_rounds_on_one_model_both_brought_to_the_last_stage",
            f"{REPEATS}::test_attack_24_a_round_that_went_back",
        ),
    ),
    Mutant(
        "24",
        "masking in a newer round erases the older ones' secrets",
        CLIENT,
        "            self._close_older(context)\n",
        "",
        (f"{REPEATS}::test_attack_24_two_rounds_on_one_model_both_brought_to_the_last_stage",),
    ),
    Mutant(
        "24",
        "rule 6 is checked again before the answer",
        CLIENT,
        "self._rules.model(context, answering=True)",
        "pass",
        (f"{REPEATS}::test_attack_24_two_rounds_on_one_model_both_brought_to_the_last_stage",),
    ),
    Mutant(
        "24b",
        "c counts the corrupt clients of the roster",
        RULES,
        "size = len(self._roster) if self._roster is not None else p.clients",
        "size = p.clients",
        (f"{VIEWS}::test_attack_24b_all_colluders_of_the_roster_in_one_small_list",),
    ),
    Mutant(
        "24b",
        "a second survivor set is not signed",
        CLIENT,
        SAME_REQUEST,
        "if stage != CONSISTENCY and entry.request != _request_hash(request, message):",
        (f"{VIEWS}::test_attack_24b_two_consistency_signatures_in_one_round",),
    ),
    Mutant(
        "24b",
        "the survivors of a ring hang together",
        RULES,
        "if directory.may_fall_apart(u_bits, max(self._policy.gamma_ppm, context.params.gamma_ppm)):",
        "if False:",
        (f"{VIEWS}::test_attack_24b_a_sparse_survivor_set_that_falls_into_two_parts",),
    ),
    Mutant(
        "26",
        "a reconstructed b has its hash",
        SERVER,
        "if not keys.constant_time_equal(self.context.secret_hash(kind, entry.id, secret), expected):",
        "if False:",
        (f"{PEERS}::test_attack_26_a_wrong_b_share_with_exactly_t_shares",),
    ),
    Mutant(
        "27",
        "blocks have the signed root",
        SERVER,
        "if upload_root(upload.leaves[key] for key in self._layout) != end.root:",
        "if False:",
        (f"{PEERS}::test_attack_27_a_corrupted_masked_vector",),
    ),
    Mutant(
        "27",
        "blocks read back from disk are those that came",
        SERVER,
        "if block_leaf(*key, payload) != upload.leaves[key]:",
        "if False:",
        ("tests/secagg/test_streaming.py::test_an_upload_that_was_damaged_on_disk_is_left_out[changed]",),
    ),
    Mutant(
        "30",
        "an attachment has at most the announced size",
        CLIENT,
        "if len(contribution.attachment) > context.params.attachment_bytes:",
        "if False:",
        (f"{WIRE}::test_attack_30_attachment_that_was_not_announced",),
    ),
    Mutant(
        "32",
        "rule 3: a bundle from every neighbour in U2",
        CLIENT,
        "if [b.peer for b in message.bundles] != peers:",
        "peers = [b.peer for b in message.bundles]\n            if False:",
        (f"{VIEWS}::test_attack_32_bundles_withheld_from_the_victim",),
    ),
    Mutant(
        "32",
        "rule 3: t neighbours in U2",
        CLIENT,
        "if len(peers) < directory.thresholds.threshold:",
        "if False:",
        (f"{VIEWS}::test_attack_32_a_u2_of_colluders",),
    ),
    Mutant(
        "32",
        "the server takes uploads for its own U2 only",
        SERVER,
        "or message.u2_digest != directory.u2_digest(self._u2_bits)\n            or message.peers != expected",
        "",
        (f"{VIEWS}::test_attack_32_the_digest_of_u2_is_in_the_pairwise_keys",),
    ),
    Mutant(
        "33",
        "a root reproduces every advertised mask key",
        SERVER,
        "return (derived.public, derived.kem_public) == (entry.mask_key, entry.mask_kem)",
        "return True",
        (
            f"{PEERS}::test_attack_33_a_root_that_does_not_give_the_advertised_mask_key",
            f"{PEERS}::test_attack_33_a_kem_key_that_does_not_follow_from_the_root",
        ),
    ),
    Mutant(
        "33",
        "r_ij is PRF(root)",
        SERVER,
        "if pair_extra_hash(directory, low, high, extra) != sent.hash:",
        "if False:",
        (f"{PEERS}::test_attack_33_a_pair_secret_other_than_its_prf",),
    ),
    Mutant(
        "33",
        "r_ij has the published hash",
        CLIENT,
        "if not keys.constant_time_equal(pair_extra_hash(directory, low, high, extra), sent.hash):",
        "if False:",
        (f"{PEERS}::test_attack_33_a_pair_secret_with_another_hash",),
    ),
    Mutant(
        "34",
        "the announcement binds the head of its headers",
        "rounds/client.py",
        "if chain.head != head:",
        "if False:",
        (f"{ROUNDS}::test_attack_34_headers_that_the_announcement_does_not_bind",),
    ),
    Mutant(
        "34",
        "the ledger's key is pinned",
        "rounds/client.py",
        "if pinned is not None and pinned != message.ledger_key:",
        "if False:",
        (f"{ROUNDS}::test_attack_34_a_ledger_of_another_key",),
    ),
)


def failing(mutant: Mutant | None, tests: tuple[str, ...], folder: Path) -> list[bool]:
    """Run the tests against a copy of the package with this mutant; for each, whether it fails."""
    shutil.copytree(ROOT / "privcomp", folder / "privcomp", ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        path = folder / "privcomp" / mutant.file
        source = path.read_text("utf-8")
        if source.count(mutant.old) != 1:
            raise LookupError(f"{mutant.file} has this piece {source.count(mutant.old)} times: {mutant.old}")
        path.write_text(source.replace(mutant.old, mutant.new), "utf-8")
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--junitxml={report}", f"--rootdir={ROOT}"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            str(ROOT / "pyproject.toml"),
            *options,
            "-o",
            f"pythonpath={folder} {ROOT}",
            *tests,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return [_failed(report, test) for test in tests]


def _failed(report: Path, test: str) -> bool:
    """Whether one of the cases of a test failed in its body; a test that did not run at all is no evidence."""
    name = test.rpartition("::")[2]
    cases = [
        case
        for case in ElementTree.parse(report).iter("testcase")
        if name in (case.get("name"), str(case.get("name")).partition("[")[0])
    ]
    if not cases or any(case.find("error") is not None for case in cases):
        raise LookupError(f"{test} did not run")
    return any(case.find("failure") is not None for case in cases)


def located(test: str) -> str:
    """The pytest id with an absolute path."""
    file, _, name = test.partition("::")
    return f"{ROOT / file}::{name}"


def verdicts(chosen: list[Mutant]) -> Iterator[tuple[Mutant, str, bool]]:
    """(mutant, test, whether it fails); all tests must pass without any mutant first."""
    with tempfile.TemporaryDirectory(prefix="privcomp-mutants-") as name:
        wanted = tuple(sorted({located(test) for mutant in chosen for test in mutant.tests}))
        before = failing(None, wanted, Path(name) / "original")
        if any(before):
            broken = [test for test, bad in zip(wanted, before, strict=True) if bad]
            raise LookupError(f"these fail without any mutant: {broken}")
        for k, mutant in enumerate(chosen):
            folder = Path(name) / str(k)
            found = failing(mutant, tuple(map(located, mutant.tests)), folder)
            shutil.rmtree(folder)
            for test, failed in zip(mutant.tests, found, strict=True):
                yield mutant, test.rpartition("::")[2], failed


def main(arguments: list[str] | None = None) -> int:
    """Print the table, row by row; 0 if every mutant makes every one of its tests fail."""
    parser = argparse.ArgumentParser(description="Take out each check and see its attack test fail.")
    parser.add_argument("--only", default="", help="attacks, separated by commas")
    only = frozenset(part.strip() for part in parser.parse_args(arguments).only.split(",") if part.strip())
    chosen = [mutant for mutant in MUTANTS if not only or only & set(mutant.attack.split(", "))]
    wide = max((len(mutant.check) for mutant in chosen), default=0)
    print(f"{'attack':7} {'check removed':{wide}}  fails  test", flush=True)
    caught = total = 0
    for mutant, test, failed in verdicts(chosen):
        caught, total = caught + failed, total + 1
        print(f"{mutant.attack:7} {mutant.check:{wide}}  {'yes' if failed else 'NO':5}  {test}", flush=True)
    good = caught == total > 0
    print(f"{caught} of {total} tests fail once their check is gone" + ("" if good else ": A MUTANT SURVIVES"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
