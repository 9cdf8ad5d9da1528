"""What touches the machine and other people's frameworks: one module per framework, and the file-backed journal."""

from privcomp.integrations.file_journal import FileJournal

__all__ = ["FileJournal"]
