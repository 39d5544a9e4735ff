"""Processes that tests start."""

import signal


def heed_ctrl_c():
    """Heed SIGINT in a process about to start: a shell's background jobs, and so their children, ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
