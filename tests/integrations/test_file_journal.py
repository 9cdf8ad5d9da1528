"""The journal on disk: one process, synced, private, and never silently repaired into forgetting an answer."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import privcomp.integrations.file_journal as module
from privcomp.errors import JournalError
from privcomp.integrations.file_journal import FileJournal
from privcomp.policy import Policy
from privcomp.secagg import MALICIOUS, SEMI_HONEST
from tests.secagg.harness import World, refused
from tests.test_journal import ROUND, append

PUBLIC = b"\3" * 32
MAGIC = b"privcomp-journal-1\n"
#: The magic and the identity, in front of the first entry.
BEGINNING = len(MAGIC) + 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[FileJournal]:
    with FileJournal.create(folder, PUBLIC) as created:
        yield created


def reopen(journal: FileJournal, folder: Path) -> FileJournal:
    journal.close()
    return FileJournal(folder, PUBLIC)


def entries_file(folder: Path) -> Path:
    return folder / "journal"


def test_everything_survives_a_restart(journal: FileJournal, folder: Path) -> None:
    first = append(journal, 0)
    second = append(journal, 1, messages=[b"", b"x" * 100_000])
    journal.remember("ledger-chain", b"head")
    with reopen(journal, folder) as again:
        assert again.entries() == (first, second)
        assert list(again.answer(first)) == [b"one", b"two"]
        assert list(again.answer(second)) == [b"", b"x" * 100_000]
        assert again.secrets(ROUND) == b"secret 1"
        assert again.recall("ledger-chain") == b"head"
        assert again.recall("other") is None
        with pytest.raises(JournalError, match="in the journal already"):
            append(again, 1)


def test_files_are_private(journal: FileJournal, folder: Path) -> None:
    """Mode 0600 and 0700: other users of the machine read neither secrets nor answers."""
    append(journal, 0)
    journal.remember("name", b"data")
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_an_identity_without_its_journal_is_refused(folder: Path) -> None:
    """Nobody knows any more what it has answered: no journal is created on the way."""
    with pytest.raises(JournalError, match="there is no journal"):
        FileJournal(folder, PUBLIC)
    with FileJournal.create(folder, PUBLIC):
        pass
    with pytest.raises(JournalError, match="holds a journal already"):
        FileJournal.create(folder, PUBLIC)


def test_a_journal_of_another_identity_is_refused(journal: FileJournal, folder: Path) -> None:
    append(journal, 0)
    journal.close()
    with pytest.raises(JournalError, match="another identity"):
        FileJournal(folder, b"\4" * 32)


# ---- 23: two processes with one identity ----


def test_attack_23_two_processes_with_one_identity(journal: FileJournal, folder: Path) -> None:
    """The second process is refused while the first one runs, and goes on where it ended."""
    code = (
        "import sys\n"
        "from privcomp.errors import JournalError\n"
        "from privcomp.integrations.file_journal import FileJournal\n"
        "try: FileJournal(sys.argv[1], b'\\3' * 32)\n"
        "except JournalError as error: print('refused:', error)\n"
        "else: print('opened')"
    )

    def second() -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
        ).stdout

    assert "refused: another process holds the journal" in second()
    with pytest.raises(JournalError, match="another process holds the journal"):
        FileJournal(folder, PUBLIC)
    journal.close()
    assert "opened" in second()
    with pytest.raises(JournalError, match="is closed"), journal.locked():
        pass


def _in_child(journal: FileJournal, connection: Any) -> None:
    try:
        append(journal, 5)
        connection.send("answered")
    except JournalError as error:
        connection.send(str(error))


def test_attack_23_a_forked_child_does_not_answer(journal: FileJournal) -> None:
    """A child inherits the lock's descriptor, not the right to use it."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_in_child, args=(journal, theirs))
    child.start()
    assert "opened before a fork" in ours.recv()
    child.join()
    append(journal, 5)


# ---- 23: rollback ----


def test_attack_23_rollback_of_the_secrets_alone(journal: FileJournal, folder: Path) -> None:
    append(journal, 0)
    backup = folder.parent / "secrets"
    shutil.copytree(folder / "secrets", backup)
    append(journal, 1)
    journal.close()
    shutil.rmtree(folder / "secrets")
    shutil.copytree(backup, folder / "secrets")
    with FileJournal(folder, PUBLIC) as again:
        # What is older than the round's last entry is gone on opening: there is nothing to go on with.
        assert again.secrets(ROUND) is None


@pytest.mark.parametrize("finished", [False, True], ids=["open round", "finished round"])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_attack_23_rollback_of_the_journal_alone(kept: int, finished: bool, journal: FileJournal, folder: Path) -> None:
    """The journal restored from after `kept` of three entries: the mark beside it gives it away on opening."""
    lengths = [BEGINNING]
    for stage in range(3):
        append(journal, stage)
        lengths.append(entries_file(folder).stat().st_size)
    if finished:  # no secret is left that could give it away
        journal.erase(ROUND)
    journal.close()
    os.truncate(entries_file(folder), lengths[kept])
    for _ in range(2):  # for good: the refusal repairs nothing
        with pytest.raises(JournalError, match="was rolled back"):
            FileJournal(folder, PUBLIC)


def test_attack_23_another_history_of_the_same_length(journal: FileJournal, folder: Path) -> None:
    """The mark holds the head, not only the length: other entries in the place of the answered ones are refused."""
    append(journal, 0)
    first = entries_file(folder).read_bytes()
    append(journal, 1)
    journal.close()
    other = folder.parent / "other"
    with FileJournal.create(other, PUBLIC) as foreign:
        append(foreign, 0)
        append(foreign, 2)
    swapped = entries_file(other).read_bytes()
    assert swapped.startswith(first)
    entries_file(folder).write_bytes(swapped)
    with pytest.raises(JournalError, match="was rolled back"):
        FileJournal(folder, PUBLIC)


def test_attack_23_rollback_with_the_protocol_on_top(tmp_path: Path) -> None:
    """A client whose journal was restored from before the round, running or finished, is not opened any more."""
    world = World(
        6, adversary=SEMI_HONEST, journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public)
    )
    round = world.round().run_to("unmask")
    running, *others = world.nodes
    round.requests.pop(running.id)
    assert running.id in round.finish().survivors
    for node in (running, others[0]):
        folder = tmp_path / node.id.decode()
        assert bool(list((folder / "secrets").iterdir())) == (node is running)
        node.journal.close()  # type: ignore[attr-defined]
        os.truncate(entries_file(folder), BEGINNING)
        with pytest.raises(JournalError, match="was rolled back"):
            FileJournal(folder, node.identity.public)


# ---- crashes ----


def test_a_write_that_a_crash_cut_short_was_never_sent(journal: FileJournal, folder: Path) -> None:
    """A torn last entry is dropped, at every byte: sending waits for the sync. The stage can be answered afterwards."""
    append(journal, 0)
    whole = entries_file(folder).stat().st_size
    mark = (folder / "memory" / "mark").read_bytes()
    append(journal, 1)
    journal.close()
    data = entries_file(folder).read_bytes()
    (folder / "memory" / "mark").write_bytes(mark)  # it is written after the entry: the crash came before
    keep = {path: path.read_bytes() for path in (folder / "secrets").iterdir()}
    for cut in (*range(whole, whole + 12), len(data) - 1):
        entries_file(folder).write_bytes(data[:cut])
        with FileJournal(folder, PUBLIC) as again:
            assert len(again.entries()) == 1
            assert entries_file(folder).stat().st_size == whole
        for path, content in keep.items():
            path.write_bytes(content)


def test_one_flipped_bit_anywhere_keeps_the_journal_shut(journal: FileJournal, folder: Path) -> None:
    """Beginning, lengths, complements, entries: half a memory is none, and no entry is taken for a torn write."""
    append(journal, 0)
    append(journal, 1)
    journal.close()
    good = entries_file(folder).read_bytes()
    assert good[:BEGINNING] == MAGIC + PUBLIC
    for at in range(len(good)):
        data = bytearray(good)
        data[at] ^= 1 << at % 8
        entries_file(folder).write_bytes(data)
        with pytest.raises(JournalError, match=r"damaged|does not follow|another identity|was rolled back"):
            FileJournal(folder, PUBLIC)
        assert entries_file(folder).read_bytes() == data, "a refused journal was changed"
    entries_file(folder).write_bytes(good)
    FileJournal(folder, PUBLIC).close()


@pytest.mark.parametrize("bit", range(32))
def test_a_flipped_bit_in_the_last_length_is_no_torn_write(bit: int, journal: FileJournal, folder: Path) -> None:
    """Even without the mark: a longer length does not make a synced entry look like one that a crash cut short."""
    append(journal, 0)
    last = entries_file(folder).stat().st_size
    append(journal, 1)
    journal.close()
    (folder / "memory" / "mark").unlink()
    data = bytearray(entries_file(folder).read_bytes())
    data[last + bit // 8] ^= 1 << bit % 8
    entries_file(folder).write_bytes(data)
    with pytest.raises(JournalError, match="entry 1 of the journal is damaged"):
        FileJournal(folder, PUBLIC)


def test_the_mark_holds_length_and_head(journal: FileJournal, folder: Path) -> None:
    for stage in range(2):
        entry = append(journal, stage)
        assert journal.recall("mark") == (stage + 1).to_bytes(8, "little") + entry.hash


@pytest.mark.parametrize("change", ["drop the first", "swap", "repeat"])
def test_entries_that_do_not_follow_each_other(change: str, journal: FileJournal, folder: Path) -> None:
    append(journal, 0)
    half = entries_file(folder).stat().st_size
    append(journal, 1)
    journal.close()
    data = entries_file(folder).read_bytes()
    start, first, second = data[:BEGINNING], data[BEGINNING:half], data[half:]
    changed = {"drop the first": second, "swap": second + first, "repeat": first + second + second}[change]
    entries_file(folder).write_bytes(start + changed)
    with pytest.raises(JournalError, match="does not follow"):
        FileJournal(folder, PUBLIC)


def test_a_crash_between_secrets_and_entry_keeps_the_old_secrets(
    journal: FileJournal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets of a step whose entry was never written are not those of the step before."""
    append(journal, 0)
    real = os.open

    def dies(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_APPEND:
            raise KeyboardInterrupt
        return real(path, flags, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "open", dies)
        with pytest.raises(KeyboardInterrupt):
            append(journal, 1)
    with reopen(journal, folder) as again:
        assert again.secrets(ROUND) == b"secret 0"
        append(again, 1)
        assert again.secrets(ROUND) == b"secret 1"


def test_a_full_disk_sends_nothing(journal: FileJournal, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that cannot be written leaves the journal as it was."""
    append(journal, 0)
    before = entries_file(folder).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", lambda *_: 3)
        with pytest.raises(JournalError, match="cannot be written"):
            append(journal, 1)
    assert entries_file(folder).read_bytes() == before
    append(journal, 1)
    with reopen(journal, folder) as again:
        assert len(again.entries()) == 2


@pytest.mark.parametrize("call", ["fsync", "replace", "open", "write"])
@pytest.mark.parametrize("nth", range(6))
def test_a_full_disk_is_a_journal_error_and_the_step_can_be_tried_again(
    call: str, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the disk fails in a step: a JournalError, nothing sent, and with space again the round completes."""
    world = World(
        4, adversary=SEMI_HONEST, journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public)
    )
    round = world.round()
    real = getattr(os, call)
    for stage in ("advertise", "share", "mask", "unmask"):
        round.run_to(stage)
        calls = 0

        def full(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > nth:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(module.os, call, full)
            try:
                world[0].receive(round.request(0))
            except JournalError as error:
                assert "cannot be written" in str(error)  # noqa: PT017 (late failures are none)
            if nth == 0:
                assert calls
    assert len(round.finish().survivors) == 4
    world[0].journal.close()  # type: ignore[attr-defined]
    with FileJournal(tmp_path / world[0].id.decode(), world[0].identity.public) as again:
        assert [entry.stage for entry in again.entries()] == [0, 1, 2, 4]
        assert not again.open_rounds()


def test_a_stored_answer_with_one_flipped_byte_is_not_sent(tmp_path: Path) -> None:
    """Not a prefix of it either: the whole answer is compared with its hash before its first message leaves."""
    world = World(5, journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public))
    round = world.round().run_to("mask")
    node = world[0]
    honest = node.receive(round.request(0))
    entry = node.journal.find(round.server.context.digest, 2)
    assert entry is not None
    path = tmp_path / node.id.decode() / "answers" / entry.response.hex()
    good = path.read_bytes()
    for at in (0, 7, 8, len(good) // 2, len(good) - 1):
        data = bytearray(good)
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(JournalError, match=r"was changed|is damaged"):
            node.client.receive(node.state, round.request(0), node.contribute)
    path.write_bytes(good)
    assert node.receive(round.request(0)) == honest
    round.finish()


def test_an_answer_that_was_lost_or_changed_is_not_sent(journal: FileJournal, folder: Path) -> None:
    """A repeat must be byte-identical: without the stored bytes the client sits the round out."""
    entry = append(journal, 0)
    (path,) = (folder / "answers").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(JournalError, match="is damaged"):
        list(journal.answer(entry))
    path.unlink()
    with pytest.raises(JournalError, match="is gone"):
        list(journal.answer(entry))


def test_what_no_entry_refers_to_is_cleaned_up(journal: FileJournal, folder: Path) -> None:
    append(journal, 0)
    append(journal, 1)
    stray = folder / "answers" / "00"
    stray.write_bytes(b"left over by a crash")
    with reopen(journal, folder) as again:
        assert not stray.exists()
        assert len(list((folder / "secrets").iterdir())) == 1
        again.erase(ROUND)
    assert not list((folder / "secrets").iterdir())


def test_torn_temporary_secrets_are_erased_on_opening(journal: FileJournal, folder: Path) -> None:
    """A crash between writing secrets and naming them leaves a file without a name: overwritten and gone on opening."""
    append(journal, 0)
    torn = folder / "secrets" / "tmpabcdefgh"
    torn.write_bytes(b"the round's secrets, not named yet")
    link = folder.parent / "another name of the same file"
    os.link(torn, link)
    with reopen(journal, folder) as again:
        assert not torn.exists()
        assert not any(link.read_bytes()), "deleted without being overwritten"
        assert again.secrets(ROUND) == b"secret 0"


def test_masking_in_a_newer_round_erases_the_older_rounds_secrets(tmp_path: Path) -> None:
    """Rule 6 has closed the older round for ever: nobody but a thief could use what is stored of it."""
    world = World(5, journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public))
    older = world.round(1).run_to("consistency")
    secrets = tmp_path / world[0].id.decode() / "secrets"
    other = world.round(7, model=b"another model").run_to("consistency")
    assert len(list(secrets.iterdir())) == 2
    newer = world.round(2).run_to("consistency")
    assert older.server.context.digest not in world[0].journal.open_rounds()
    assert set(world[0].journal.open_rounds()) == {r.server.context.digest for r in (other, newer)}
    assert len(list(secrets.iterdir())) == 2
    with refused(world[0], JournalError, "this round is over for this client"):
        world[0].receive(older.consistency_request(range(5)))
    newer.finish()
    other.finish()
    assert not list(secrets.iterdir())


def test_a_newer_round_closes_no_later_number(tmp_path: Path) -> None:
    """What rule 6 leaves open keeps its secrets: a round with a higher number, announced before."""
    world = World(5, journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public))
    later = world.round(2).run_to("share")
    world.round(1).run_to("consistency")
    assert later.server.context.digest in world[0].journal.open_rounds()
    later.finish()


def test_rounds_that_never_end_are_given_up_beyond_the_policy(tmp_path: Path) -> None:
    """A server that announces for ever leaves `open_rounds_max` rounds' secrets on the disk: the newest ones."""
    world = World(
        4,
        policy=Policy(adversary=MALICIOUS, corrupt=0, open_rounds_max=3),
        journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public),
    )
    rounds = [world.round(number, model=b"model %d" % number) for number in range(1, 8)]
    for round in rounds:
        world[0].receive(round.server.announcement)
    digests = [round.server.context.digest for round in rounds]
    assert world[0].journal.open_rounds() == tuple(digests[-3:])
    assert len(list((tmp_path / world[0].id.decode() / "secrets").iterdir())) == 3
    rounds[0].run_to("share", {0: "advertise"})
    last = rounds[-1].run_to("share")
    world[0].restart()
    last.finish()
    stale = rounds[1]
    for node in world.nodes:
        for message in node.receive(stale.server.announcement):
            stale.server.receive(message)
    requests = stale.server.advance()
    with refused(world[0], JournalError, "this round is over for this client"):
        world[0].receive(requests[world[0].id])


def test_a_whole_round_on_disk(tmp_path: Path) -> None:
    """Six clients, each restarted from its folder before every stage; the secrets are gone in the end."""
    world = World(
        6, adversary=SEMI_HONEST, journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public)
    )
    round = world.round()
    for stage in ("share", "mask", "unmask"):
        round.run_to(stage, {5: "mask"})
        for node in world.nodes:
            node.journal.close()  # type: ignore[attr-defined]
            node.journal = FileJournal(tmp_path / node.id.decode(), node.identity.public)
            node.restart()
    round.finish({5: "mask"})
    for node in world.nodes[:5]:
        assert not list((tmp_path / node.id.decode() / "secrets").iterdir())
    with refused(world[0], JournalError, "answered for another request"):
        world[0].receive(round.unmask_request(range(4)))


@pytest.mark.parametrize("taken", [False, True])
def test_a_step_that_outlives_its_journal_writes_nothing(journal: FileJournal, folder: Path, taken: bool) -> None:
    """A training whose node was stopped goes on in its thread; meanwhile the journal may belong to somebody else."""
    append(journal, 0)
    before = list(journal.entries())

    def late() -> Iterator[bytes]:
        journal.close()
        if taken:
            with FileJournal(folder, PUBLIC) as other:
                append(other, 1)
                before[:] = other.entries()
        yield b"masked by the old one"

    with pytest.raises(JournalError, match="cannot be written" if taken else "closed while"):
        append(journal, 1, messages=late())
    with pytest.raises(JournalError, match="closed while"):
        journal.remember("ledger-chain", b"old")
    with pytest.raises(JournalError, match="closed while"):
        journal.erase(ROUND)
    with FileJournal(folder, PUBLIC) as again:
        assert list(again.entries()) == before
        assert again.recall("ledger-chain") is None
