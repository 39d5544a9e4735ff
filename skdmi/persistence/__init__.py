"""Models on disk.

============================  =====================================================================================
:mod:`~.persistence.models`   a model found by its name or path, read and written
:mod:`~.persistence.hub`      a model fetched from a hub, and sent there
:mod:`~.persistence.files`    one file for a card and its arrays, read within limits
:mod:`~.persistence.rules`    what values of a card may be
:mod:`~.persistence.format_1` what 0.1.0 wrote
============================  =====================================================================================
"""

from skdmi.persistence.directories import check_writable
from skdmi.persistence.files import open_file, read_file, read_header, write_file
from skdmi.persistence.hub import NEWEST, Hub, push
from skdmi.persistence.model import WEIGHTS, Model, member_name
from skdmi.persistence.models import find_model, network_in_words, read_model, save_model, trained_sizes
from skdmi.persistence.shipped import RETIRED, SHIPPED, pretrained_names, shipped_directory

__all__ = [
    "NEWEST",
    "RETIRED",
    "SHIPPED",
    "WEIGHTS",
    "Hub",
    "Model",
    "check_writable",
    "find_model",
    "member_name",
    "network_in_words",
    "open_file",
    "pretrained_names",
    "push",
    "read_file",
    "read_header",
    "read_model",
    "save_model",
    "shipped_directory",
    "trained_sizes",
    "write_file",
]
