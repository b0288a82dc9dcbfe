"""How a child process is bound to its parent's life; starts and stops nothing itself."""

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Loaded here and not in the forked child, where taking a lock could hang.
_libc = ctypes.CDLL(None, use_errno=True)


def bound_to_us(last_signal: int = signal.SIGKILL) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends last_signal to the child when the thread that started it ends.

    Linux only (prctl(2)). The kernel forgets the wish when the process changes its user, so it has to come
    after that, as `preexec_fn` does. Called in the parent, and just before the fork: a child that finds
    another parent was born too late.
    """
    parent = os.getpid()

    def bind() -> None:
        if _libc.prctl(PR_SET_PDEATHSIG, last_signal, 0, 0, 0) != 0:
            os._exit(126)
        if os.getppid() != parent:
            os._exit(125)  # the parent went between fork and prctl

    return bind
