"""How a child process is bound to its parent's life; starts and stops nothing itself."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Loaded here and not in the forked child, where taking a lock could hang.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(last_signal: int = signal.SIGKILL) -> None:
    """For `preexec_fn`: the kernel sends last_signal to this process when the thread that started it ends.

    Linux only (prctl(2)). The kernel forgets the wish when the process changes its user, so it has to come
    after that, as `preexec_fn` does.
    """
    parent = os.getppid()
    if _libc.prctl(PR_SET_PDEATHSIG, last_signal, 0, 0, 0) != 0:
        os._exit(126)
    if os.getppid() != parent:
        os._exit(125)  # the parent went between fork and prctl
