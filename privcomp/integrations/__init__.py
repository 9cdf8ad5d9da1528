"""What touches the machine and other people's frameworks: one module per framework, and what all of them stand on: the
file-backed journal, and the folders of nodes and servers."""

from privcomp.integrations.file_journal import FileJournal
from privcomp.integrations.home import NodeHome, ServerHome

__all__ = ["FileJournal", "NodeHome", "ServerHome"]
