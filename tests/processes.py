"""Processes that tests start."""

import signal
import subprocess
from contextlib import contextmanager


@contextmanager
def heeding_ctrl_c(command, **options):
    """Start a process that heeds SIGINT, which a shell's background jobs, and so their children, ignore; end it."""
    # A process inherits what is ignored, not what is handled; preexec_fn is not safe beside the threads of torch.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, text=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def killed(command, **options):
    """Start a process, and end it as a machine would that needs its memory, not to be caught."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
