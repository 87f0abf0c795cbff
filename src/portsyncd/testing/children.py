"""Child processes that do not outlive who started them."""

import os
import sys
from collections.abc import Sequence
from typing import Final

# PR_SET_PDEATHSIG (1) with SIGKILL (9) survives execve. Done by a launcher and not by Popen's ``preexec_fn``, which
# Python warns about where other threads exist. A parent that died before the prctl is seen by the parent's changed id.
_LAUNCHER: Final = (
    "import ctypes,os,sys;"
    "ctypes.CDLL(None).prctl(1,9,0,0,0);"
    "os.getppid()==int(sys.argv[1]) or os._exit(1);"
    "os.execvp(sys.argv[2],sys.argv[2:])"
)


def dying_with_parent(argv: Sequence[str]) -> list[str]:
    """A command line that runs ``argv`` under the same process id and gets SIGKILL when its parent ends.

    To the kernel the parent is the *thread* that starts the child: start it from a thread that lives long enough (the
    main thread does, a worker of ``trio.to_thread`` does not).
    """
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *argv]
