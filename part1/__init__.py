"""Part 1, and the ground that everything else stands on: files, command line, figures, training runs."""
import os
import signal
import sys

# OpenMP threads that wait for work spin for a moment, then sleep. On a quiet machine that is as fast as torch's
# default, which spins much longer; on a busy one it does not bring a run to a standstill. GNU's OpenMP reads this once,
# when torch is loaded. A policy of the user's own stays.
if not any(name.startswith(("OMP_WAIT", "GOMP_SPIN")) for name in os.environ):
    os.environ["GOMP_SPINCOUNT"] = "1000"

# While a script loads its modules (`python -m` is not through with them), Ctrl-C ends it at once rather than in a
# traceback; `cli.main` takes over from there.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
