"""`python -m privcomp`."""

import sys

from privcomp.cli import main

sys.exit(main())
