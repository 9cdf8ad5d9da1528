"""The journal on disk: one process, synced, private, and never silently repaired into forgetting an answer."""

from __future__ import annotations

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
from privcomp.secagg import SEMI_HONEST
from tests.secagg.harness import World, refused
from tests.test_journal import ROUND, append

PUBLIC = b"\3" * 32


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


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_attack_23_rollback_of_the_journal_alone(kept: int, journal: FileJournal, folder: Path) -> None:
    """The journal restored from after `kept` of three entries: the round's newer secrets give it away."""
    lengths = [0]
    for stage in range(3):
        append(journal, stage)
        lengths.append(entries_file(folder).stat().st_size)
    journal.close()
    os.truncate(entries_file(folder), lengths[kept])
    with pytest.raises(JournalError, match="rolled back"), FileJournal(folder, PUBLIC) as again:
        again.secrets(ROUND)


def test_attack_23_rollback_with_the_protocol_on_top(tmp_path: Path) -> None:
    """A client whose journal was restored from before the round does not enter the round a second time."""
    world = World(
        6, adversary=SEMI_HONEST, journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public)
    )
    node = world[0]
    folder = tmp_path / node.id.decode()
    round = world.round().run_to("unmask")
    node.journal.close()  # type: ignore[attr-defined]
    os.truncate(entries_file(folder), 0)
    node.journal = FileJournal(folder, node.identity.public)
    node.restart()
    with pytest.raises(JournalError, match="rolled back"):
        node.receive(round.server.announcement)


# ---- crashes ----


def test_a_write_that_a_crash_cut_short_was_never_sent(journal: FileJournal, folder: Path) -> None:
    """A torn last entry is dropped, at every byte: sending waits for the sync. The stage can be answered afterwards."""
    append(journal, 0)
    whole = entries_file(folder).stat().st_size
    append(journal, 1)
    journal.close()
    data = entries_file(folder).read_bytes()
    keep = {path: path.read_bytes() for path in (folder / "secrets").iterdir()}
    for cut in (*range(whole, whole + 12), len(data) - 1):
        entries_file(folder).write_bytes(data[:cut])
        with FileJournal(folder, PUBLIC) as again:
            assert len(again.entries()) == 1
            assert entries_file(folder).stat().st_size == whole
        for path, content in keep.items():
            path.write_bytes(content)


@pytest.mark.parametrize("at", [8 + 5, 40, 100, 200])
def test_a_damaged_entry_is_never_skipped(at: int, journal: FileJournal, folder: Path) -> None:
    """A changed byte inside of an entry keeps the journal shut: half a memory is none."""
    append(journal, 0)
    append(journal, 1)
    journal.close()
    data = bytearray(entries_file(folder).read_bytes())
    data[at] ^= 1
    entries_file(folder).write_bytes(data)
    with pytest.raises(JournalError, match=r"damaged|does not follow|another identity"):
        FileJournal(folder, PUBLIC)


@pytest.mark.parametrize("change", ["drop the first", "swap", "repeat"])
def test_entries_that_do_not_follow_each_other(change: str, journal: FileJournal, folder: Path) -> None:
    append(journal, 0)
    half = entries_file(folder).stat().st_size
    append(journal, 1)
    journal.close()
    data = entries_file(folder).read_bytes()
    first, second = data[:half], data[half:]
    changed = {"drop the first": second, "swap": second + first, "repeat": data + second}[change]
    entries_file(folder).write_bytes(changed)
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
