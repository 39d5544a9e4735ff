"""Inverses where there is no LAPACK: files of standard ONNX operators, with a proof of what they return.

``inverter.export(path)`` writes a fitted inverter; here are the files that nothing was learned for. Needs onnx:
``pip install "skdmi[export]"``.
"""

from importlib import import_module

try:
    import_module("onnx")
except ImportError as _error:
    raise ImportError('Exporting needs onnx. Try pip install "skdmi[export]".') from _error

from skdmi.export.files import describe_file, save
from skdmi.export.forms import any_size, closed_form, elimination, export_certificate, fixed

__all__ = ["any_size", "closed_form", "describe_file", "elimination", "export_certificate", "fixed", "save"]
