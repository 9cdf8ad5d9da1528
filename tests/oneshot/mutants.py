"""Evidence that the tests of the rules test: each check is taken out, alone, and its named test must fail.

    python -m tests.oneshot.mutants

See `tests.secagg.mutants`, whose machinery this uses.
"""

from __future__ import annotations

import sys

from tests.secagg.mutants import Mutant, verdicts

CLIENT, CLOSING, MEMBER, RULES, CONTEXT, COMMITTEE, PARAMS, SERVER, SHARES, MESSAGES = (
    f"oneshot/{name}.py"
    for name in (
        "client",
        "closing",
        "member",
        "rules",
        "context",
        "committee",
        "params",
        "server",
        "keyshares",
        "messages",
    )
)
RULE, ROUND, KEYS = (f"tests/oneshot/test_{name}.py" for name in ("rules", "rounds", "keyshares"))


def mutant(rule: str, check: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(rule, check, file, old, new, tests)


MUTANTS = (
    mutant(
        "certificate",
        "Q votes",
        MEMBER,
        "if len(message.votes) < committee.quorum:",
        "if False:",
        f"{RULE}::test_rule_certificate_an_answer_needs_q_votes_on_exactly_this_set",
    ),
    mutant(
        "certificate",
        "votes verify over this set",
        MEMBER,
        'if not context.signed_by(public, signature, "vote", party, hashed):',
        "if False:",
        f"{RULE}::test_rule_certificate_an_answer_needs_q_votes_on_exactly_this_set",
    ),
    mutant(
        "vote once",
        "one set per session and round",
        RULES,
        "entry.stage in (VOTE, ANSWER) and entry.note[32:] != hashed:",
        "False:",
        f"{RULE}::test_rule_vote_once_a_member_signs_one_set_per_round",
        f"{RULE}::test_rule_answer_once_a_second_set_is_not_answered",
    ),
    mutant(
        "Q",
        "Q is that of the formula",
        COMMITTEE,
        "if self.quorum != quorum(c, self.privacy, self.packing):",
        "if False:",
        f"{RULE}::test_rule_q_a_smaller_quorum_is_refused",
    ),
    mutant(
        "size",
        "n_min <= |U| <= n_max",
        MEMBER,
        "if not params.survivors_min <= len(survivors) <= params.clients:",
        "if False:",
        f"{RULE}::test_rule_size_a_member_signs_no_small_set",
    ),
    mutant(
        "n_min policy",
        "n_min above the node's own",
        RULES,
        "policy.require(p.survivors_min >= least,",
        "policy.require(True,",
        f"{RULE}::test_rule_n_min_policy_the_server_cannot_lower_it",
    ),
    mutant(
        "n_min roster",
        "n is the roster's",
        RULES,
        "return least_survivors(len(self._roster), corrupt, honest)",
        "return least_survivors(context.params.clients, corrupt, honest)",
        f"{RULE}::test_rule_n_min_roster_counts_the_roster_never_those_asked",
    ),
    mutant(
        "roster",
        "a client is in the roster",
        MEMBER,
        "if entry.id not in self.roster:",
        "if False:",
        f"{RULE}::test_rule_roster_made_up_clients_are_refused",
    ),
    mutant(
        "roster",
        "the client's signature",
        MEMBER,
        'if not context.signed_by(self.roster.public(entry.id), entry.signature, "upload", *body):',
        "if False:",
        f"{RULE}::test_rule_roster_an_upload_in_anothers_name_is_not_accepted",
    ),
    mutant(
        "roster",
        "nobody twice in U",
        MEMBER,
        "if any(a >= b for a, b in pairwise(ids)):",
        "if False:",
        f"{RULE}::test_rule_roster_nobody_comes_twice",
    ),
    mutant(
        "roster",
        "digests of U are those accepted",
        MEMBER,
        "if given.digests.get(party) != hashed:",
        "if party not in given.digests:",
        f"{RULE}::test_rule_ctx_bound_uploads_and_votes_of_another_round_do_not_count",
    ),
    mutant(
        "mode",
        "mode",
        RULES,
        "p.adversary == MALICIOUS or policy.adversary == SEMI_HONEST,",
        "True,",
        f"{RULE}::test_rule_mode_a_semi_honest_round_is_refused",
    ),
    mutant(
        "committee",
        "named members",
        RULES,
        "policy.require(bool(own.members) and c.members == own.members,",
        "policy.require(True,",
        f"{RULE}::test_rule_committee_members_of_the_servers_choosing_are_refused",
        f"{RULE}::test_rule_committee_without_a_policy_nobody_holds_keys",
    ),
    mutant(
        "committee",
        "condition (S)",
        RULES,
        "safe, f",
        "True, f",
        f"{ROUND}::test_sampled_committees_are_members_of_the_roster_with_one_journal_for_both_roles",
    ),
    mutant(
        "committee",
        "the draw",
        RULES,
        "policy.require(drawn.members == c.members,",
        "policy.require(True,",
        f"{ROUND}::test_sampled_committees_are_members_of_the_roster_with_one_journal_for_both_roles",
    ),
    mutant(
        "t_p",
        "t_p of the policy",
        RULES,
        "policy.require(c.privacy >= own.privacy_least,",
        "policy.require(True,",
        f"{RULE}::test_rule_t_p_below_the_policy_is_refused",
    ),
    mutant(
        "box keys",
        "signatures of row 0",
        RULES,
        "if not seat_signed_by(context, place, party, public):",
        "if False:",
        f"{RULE}::test_rule_box_keys_of_the_server_are_refused",
    ),
    mutant(
        "row 0",
        "the server's signature",
        MEMBER,
        "if not request_is_signed(request):",
        "if False:",
        f"{RULE}::test_rule_row_0_only_the_pinned_server_asks_for_box_keys",
    ),
    mutant(
        "row 0",
        "the pinned server",
        MEMBER,
        "self.policy.require(pinned in (None, server),",
        "self.policy.require(True,",
        f"{RULE}::test_rule_row_0_only_the_pinned_server_asks_for_box_keys",
        f"{RULE}::test_rule_close_only_the_pinned_server_has_models_closed",
    ),
    mutant(
        "row 0",
        "one key per session and round",
        RULES,
        "entry.stage == BOXKEY and entry.note[32:] == server:",
        "False:",
        f"{ROUND}::test_one_box_key_per_session_and_round",
    ),
    mutant(
        "row 0",
        "who came furthest goes last",
        MEMBER,
        "for stage in (ACCEPT, VOTE))",
        "for stage in (VOTE,))",
        f"{ROUND}::test_rounds_that_came_furthest_keep_their_box_keys",
    ),
    mutant(
        "row 0",
        "no key that opens nothing",
        MEMBER,
        "if self._journal.find(own, ANSWER) is None and self._journal.secrets(own) is None:",
        "if False:",
        f"{ROUND}::test_a_member_gives_up_the_oldest_rounds_without_a_vote",
    ),
    mutant(
        "no duplicates",
        "box keys differ",
        RULES,
        "if seat.key in seen:",
        "if False:",
        f"{RULE}::test_rule_no_duplicates_a_member_a_key_or_a_box_key_twice",
    ),
    mutant(
        "no duplicates",
        "members differ",
        COMMITTEE,
        "Roster(tuple(sorted(self.members)))",
        "(self.members)",
        f"{RULE}::test_rule_no_duplicates_a_member_a_key_or_a_box_key_twice",
    ),
    mutant(
        "model hash",
        "the client hashes the model",
        CLIENT,
        "if sha256(request.model).digest() != context.announce.model_hash:",
        "if False:",
        f"{RULE}::test_rule_model_hash_a_client_hashes_the_model_itself",
    ),
    mutant(
        "one upload",
        "one ctx per session and round",
        RULES,
        "(entry.stage == UPLOAD and entry.round_digest != context.digest)",
        "False",
        f"{RULE}::test_rule_one_upload_per_session_and_round",
        f"{RULE}::test_rule_client_journal_uploads_survive_a_restart",
    ),
    mutant(
        "journal",
        "row 0 is in the journal",
        MEMBER,
        "if row0 is None:",
        "if False:",
        f"{RULE}::test_rule_journal_a_member_without_its_journal_signs_nothing",
    ),
    mutant(
        "B vote",
        "one set per model and committee",
        RULES,
        "if len(others) > self._policy.reentries(a.purpose):",
        "if False:",
        f"{RULE}::test_rule_b_vote_two_rounds_on_one_model",
        f"{RULE}::test_rule_b_session_the_record_holds_over_sessions_and_purposes",
        f"{RULE}::test_rule_b_vote_in_semi_honest_mode_and_for_a_single_key_holder_the_answer_counts",
    ),
    mutant(
        "B committee",
        "one committee per model",
        RULES,
        "if len(bound - released - {committee.hash}) > self._policy.reentries(a.purpose):",
        "if False:",
        f"{RULE}::test_rule_b_committee_a_client_uploads_on_one_model_to_one_committee",
        f"{RULE}::test_rule_b_k_close_certificates_release_a_model",
    ),
    mutant(
        "B K",
        "K closes",
        CONTEXT,
        "return good >= committee.release",
        "return good >= 1",
        f"{RULE}::test_rule_b_k_close_certificates_release_a_model",
    ),
    mutant(
        "B K",
        "closes verify",
        CONTEXT,
        'if not keys.verify(committee.members[place][1], signature, _LABEL + "close", *parts):',
        "if False:",
        f"{RULE}::test_rule_b_k_close_certificates_release_a_model",
    ),
    mutant(
        "B K",
        "the server counts K closes",
        CLOSING,
        "if not self.is_complete:",
        "if False:",
        f"{ROUND}::test_too_few_closes_make_no_certificate",
    ),
    mutant(
        "B K",
        "closes are of this model and committee",
        CLOSING,
        "if (message.model_hash, message.committee_hash) != parts:",
        "if False:",
        f"{ROUND}::test_too_few_closes_make_no_certificate",
    ),
    mutant(
        "B K",
        "closes carry their member's signature",
        CLOSING,
        'if not keys.verify(committee.members[place][1], message.signature, "privcomp-oneshot-1/close", *parts):',
        "if False:",
        f"{ROUND}::test_too_few_closes_make_no_certificate",
    ),
    mutant(
        "B xor",
        "no close after a vote",
        RULES,
        "if entry.stage in (VOTE, ANSWER):\n                raise",
        "if False:\n                raise",
        f"{RULE}::test_rule_b_xor_who_voted_does_not_close_and_who_closed_does_not_vote",
    ),
    mutant(
        "B xor",
        "no vote after a close",
        RULES,
        "if self._journal.find(close_digest(a.model_hash, committee.hash), CLOSE) is not None:",
        "if False:",
        f"{RULE}::test_rule_b_xor_who_voted_does_not_close_and_who_closed_does_not_vote",
    ),
    mutant(
        "close",
        "the journal reaches back",
        RULES,
        "if entry.sequence < row0.sequence:",
        "if False:",
        f"{RULE}::test_close_needs_a_journal_that_reaches_back_before_the_first_round",
    ),
    mutant(
        "protocols",
        "interactive rounds close a model",
        RULES,
        "if any(entry.protocol != ONESHOT for entry in self._journal.of_model(context.announce.model_hash)):",
        "if False:",
        f"{RULE}::test_a_model_of_an_interactive_round_is_closed_for_one_shot_rounds",
    ),
    mutant(
        "erase",
        "box keys go after the answer",
        MEMBER,
        "self._journal.erase(own)  # boxes of this round open no more",
        "pass",
        f"{ROUND}::test_box_keys_are_erased_after_the_answer",
    ),
    mutant(
        "given",
        "the same shares again",
        MEMBER,
        "(entry.note[32:], entry.request) != (context.digest, sha256(data).digest()):",
        "False:",
        f"{RULE}::test_a_restarted_member_is_given_its_shares_again",
    ),
    mutant(
        "shares",
        "the low-degree test",
        SHARES,
        "return root if bool((seen == _product(row, u)[0]).all()) else None",
        "return root",
        f"{KEYS}::test_a_malformed_share_is_refused_by_its_member",
        f"{ROUND}::test_a_client_with_a_malformed_share_is_left_out_and_named",
    ),
    mutant(
        "answers",
        "answers lie on one polynomial",
        SHARES,
        "return bool((_product(across, values[base]) == values[rest]).all())",
        "return True",
        f"{KEYS}::test_too_many_wrong_answers_give_nothing",
        f"{ROUND}::test_a_member_with_a_wrong_answer_is_named_and_the_sum_is_exact",
    ),
    mutant(
        "server",
        "one proposal per model and committee",
        SERVER,
        "if entry.stage == PROPOSE and entry.note[:32] == committee.hash and entry.round_digest != own:",
        "if False:",
        f"{RULE}::test_an_honest_server_proposes_one_set_per_model_and_committee",
        f"{ROUND}::test_a_stored_announcement_of_a_model_that_was_used_since_is_refused",
    ),
    mutant(
        "server",
        "one proposal per round",
        SERVER,
        "if entry.request != hashed:",
        "if False:",
        f"{ROUND}::test_a_server_with_an_older_file_proposes_what_its_journal_has_or_nothing",
    ),
    mutant(
        "server",
        "stored uploads have the round's shape",
        SERVER,
        "self._check_parts(end)  #",
        "#",
        f"{ROUND}::test_a_stored_round_whose_parts_do_not_fit_is_refused",
    ),
    mutant(
        "server",
        "the signature of an upload",
        SERVER,
        'if not self.context.signed_by(self._roster.public(message.id), message.signature, "upload", *body):',
        "if False:",
        f"{ROUND}::test_bad_key_parts",
    ),
    mutant(
        "server",
        "the hash of the blocks",
        SERVER,
        "if ciphertext_hash(self.context.digest, hashes) != upload.end.ciphertext_hash:",
        "if False:",
        f"{ROUND}::test_blocks_in_any_order_and_replaced_ones",
    ),
)


def main() -> int:
    """Print the table; 0 if every mutant makes every one of its tests fail."""
    caught = total = 0
    for each, test, failed in verdicts(list(MUTANTS)):
        caught, total = caught + failed, total + 1
        print(f"{each.attack:14} {each.check:36} {'yes' if failed else 'NO':4} {test}", flush=True)
    print(f"{caught} of {total} tests fail once their check is gone")
    return 0 if caught == total > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
