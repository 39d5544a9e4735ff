"""A browser of this machine, and pages for it to visit."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scripts.npm_packages import MANIFEST, Unavailable, install

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def drive(script: str, todo: Any, seconds: float = 300) -> Any:
    """Run a script of ``tests/javascript`` with a browser and what it is to do, and return what it prints.

    Raises
    ------
    Unavailable
        If there is no Chromium, or what drives it cannot be installed.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise Unavailable("There is no Chromium.")
    command = ["node", MANIFEST.parent / script, install("playwright-core"), browser]
    done = subprocess.run(command, input=json.dumps(todo), capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine, and give its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass
