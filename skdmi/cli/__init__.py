"""The command ``skdmi``: one file a command, loaded when it is used; torch and scikit-learn only when it runs."""

from skdmi.cli.group import main

__all__ = ["main"]
