"""On the path of a recorded run: the simulator is a program of its own, which nothing else reaches before it starts."""

import os
import sys

if "nvflare.private.fed.app.simulator.simulator" in sys.orig_argv:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import recorder

    recorder.install(os.environ["PRIVCOMP_TEST_RECORD"])
