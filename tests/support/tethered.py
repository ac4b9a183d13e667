"""Run a command that dies with its parent, optionally as another user.

``python tethered.py [--user NAME] SIGNAL_NUMBER COMMAND…``: should the test process be killed, the kernel sends the
signal to the command (Linux only; elsewhere the command simply runs). It is a script and not a ``preexec_fn``, because
Python warns about those in processes with threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(args: list[str]) -> None:
    parent = os.getppid()
    if args[0] == "--user":
        import pwd

        entry = pwd.getpwnam(args[1])
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        args = args[2:]
    if sys.platform == "linux":  # after setuid, which would clear it
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(args[0]), 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("The parent has gone already.")
    os.execv(args[1], args[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
