"""``python -m skdmi.cli``, where the command itself is not on the path."""

from skdmi.cli import main

if __name__ == "__main__":
    main(prog_name="skdmi")
