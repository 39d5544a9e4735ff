"""The estimators: one file each, on one base; :mod:`skdmi` exports them."""
