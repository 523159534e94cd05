"""Runs a command that is killed when the process that started it dies.

    python lifeline.py PARENT_PID COMMAND [ARGUMENT ...]

Linux sends the signal by itself (PR_SET_PDEATHSIG), also when the parent was SIGKILLed and can clean up nothing; the
setting survives the exec. Elsewhere the command just runs. SIGKILL and not SIGTERM: whoever restarts the node at once
must find its ports and locks free, and everything that runs here withstands it.

A program of its own rather than a `preexec_fn`, which is not safe in a process with threads. Standard library only.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the setting took hold
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
