"""Workers end with the process that they work for."""

import multiprocessing
import subprocess
import sys
import threading

import pytest
from joblib import Parallel, delayed

from skdmi.processes import end_with_parent

TRAINING = """
import os
import torch
from sklearn.model_selection import GridSearchCV
from skdmi import EnsembleInverter, NeuralMatrixInverter


def draw(n_matrices, matrix_size, *, generator, device, dtype):
    print(os.getpid(), flush=True)
    return torch.rand(n_matrices, matrix_size, matrix_size, generator=generator, device=device, dtype=dtype)


if __name__ == "__main__":
    endless = NeuralMatrixInverter(1, 1, matrix_size=2, distribution=draw, max_epochs=10**9, patience=None)
    {fit}
"""
FITS = {
    "ensemble": "EnsembleInverter(endless, n_estimators=2, n_jobs=2).fit()",
    "search": "GridSearchCV(endless, {'width': [1, 2]}, n_jobs=2, cv=2).fit(torch.eye(2).expand(8, 2, 2).numpy())",
}


@pytest.mark.slow
@pytest.mark.parametrize("fit", FITS)
def test_workers_that_train_end_when_their_parent_is_killed(fit, tmp_path):
    script = tmp_path / "training.py"
    script.write_text(TRAINING.replace("{fit}", FITS[fit]))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        workers = set()
        while len(workers) < 2:
            workers.add(int(parent.stdout.readline()))
        assert parent.pid not in workers
        parent.kill()
        parent.communicate(timeout=60)  # waits for all who can write


def n_watchers_after_two_calls():
    end_with_parent()
    end_with_parent()
    return [thread.name for thread in threading.enumerate()].count("end_with_parent")


def test_a_process_that_works_for_nobody_is_not_watched():
    assert n_watchers_after_two_calls() == 0


def send(connection):
    connection.send(n_watchers_after_two_calls())


@pytest.mark.slow
@pytest.mark.parametrize("daemon", [False, True])
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_child_is_watched_once_if_it_is_a_daemon(method, daemon):
    context = multiprocessing.get_context(method)
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=send, args=[there], daemon=daemon)
    child.start()
    assert here.recv() == daemon
    child.join()
    assert child.exitcode == 0


@pytest.mark.slow
def test_a_worker_of_joblib_is_watched_once():
    # Workers are used again, and may be watched since an earlier test.
    assert set(Parallel(n_jobs=2)(delayed(n_watchers_after_two_calls)() for _ in range(8))) == {1}
