"""What touches the machine and other people's frameworks: one module per framework, and what all of them stand on: the
file-backed journal, and the folders of nodes, servers and parties."""

from privcomp.integrations.file_journal import FileJournal
from privcomp.integrations.home import NodeHome, PartyHome, ServerHome

__all__ = ["FileJournal", "NodeHome", "PartyHome", "ServerHome"]
