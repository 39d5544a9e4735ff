"""On what the figures are made."""

import os
import platform

import numpy as np
import torch
from threadpoolctl import threadpool_limits


def keep_to_one_thread() -> str:
    """Keep torch and numpy to one thread from here on, and return what the machine and its libraries are."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    cpu = f"{os.cpu_count()}-core {platform.machine()} CPU"
    return f"{cpu}, one thread, torch {torch.__version__}, numpy {np.__version__}"
