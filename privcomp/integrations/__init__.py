"""What touches the machine: the file-backed journal of a client."""

from privcomp.integrations.file_journal import FileJournal

__all__ = ["FileJournal"]
