"""Models on disk."""

from skdmi.persistence.files import read_file, read_header, write_file
from skdmi.persistence.models import (
    CONFIG,
    MEMBER,
    WEIGHTS,
    check_writable,
    find_model,
    load_model,
    member_directories,
    network_in_words,
    read_card,
    save_ensemble,
    save_model,
    trained_sizes,
)
from skdmi.persistence.shipped import RETIRED, SHIPPED, pretrained_names, shipped_directory

__all__ = [
    "CONFIG",
    "MEMBER",
    "RETIRED",
    "SHIPPED",
    "WEIGHTS",
    "check_writable",
    "find_model",
    "load_model",
    "member_directories",
    "network_in_words",
    "pretrained_names",
    "read_card",
    "read_file",
    "read_header",
    "save_ensemble",
    "save_model",
    "shipped_directory",
    "trained_sizes",
    "write_file",
]
