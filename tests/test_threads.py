"""The same numbers in every thread, process and mode of torch, and from one inverter for all of them."""

import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import dask.array as da
import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

import skdmi
from skdmi import BlockInverter, EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter, metrics
from skdmi.distributions import Members, Spectrum, Uniform
from skdmi.lanes.compiler import Kernel
from tests.marks import slow_but
from tests.matrices import make_stack

TRAINING = {"depth": 2, "width": 8, "max_epochs": 2, "batches_per_epoch": 4, "batch_size": 32, "patience": None}
N_THREADS = 8


def fitted(X=None, **parameters):
    """Return a network after a training too short to be of use, of which it warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return NeuralMatrixInverter(**TRAINING | {"random_state": 0, "learning_rate": 1e-2} | parameters).fit(X)


def what_was_learned(network):
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in network.history_]
    weights = network.module_.state_dict()
    return [*weights.values(), rows, network.gain_, network.domain_, network.first_loss_, network.best_loss_]


# Modes of torch


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MODES = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "meta": lambda: torch.device("meta"),  # what is made there has no numbers
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}


def everything(m, dtype):
    """Return ordinary matrices, and some that only later routes can do."""
    stacks = [make_stack(kind, 6, m, dtype=dtype, condition=1e14) for kind in ("well", "condition", "spd", "graded")]
    return np.concatenate(stacks)


def unit_lower(dtype):
    return np.tril(make_stack("uniform", 5, 9, dtype=dtype), -1) + np.eye(9, dtype=dtype)


@cache
def short():
    return skdmi.load_pretrained("uniform-3x3-short")


def of_metrics(A):
    X = np.linalg.inv(A) * 1.01
    of_pairs = [metrics.frobenius_residuals, metrics.relative_inverse_errors, metrics.within_tolerance_share]
    refined = RefinedInverter(short()).fit()
    of_inverters = [metrics.neg_mean_refinement_steps, metrics.neg_mean_operations, metrics.certified_share]
    inverters = [refined, short().estimator, refined]
    return [
        *(metric(A, X) for metric in of_pairs),
        *(metric(inverter, A) for metric, inverter in zip(of_inverters, inverters, strict=True)),
    ]


def of_distributions(A):
    where = {"generator": torch.Generator().manual_seed(0), "device": "cpu", "dtype": torch.float32}
    return [
        *(drawn for one in (Uniform(), Spectrum(), Members().bind(A)) for drawn in [one(9, 3, **where)]),
        Spectrum().sample(5, 4, random_state=0),
    ]


DOORS = {
    "inv": lambda A: [skdmi.inv(A), skdmi.inv(A, tight=True), skdmi.inv(A, model=short())],
    "certify": lambda A: [skdmi.certify(A, np.linalg.inv(A)), skdmi.certify(A, np.linalg.inv(A), tight=True)],
    "slogdet": lambda A: [skdmi.slogdet(A), skdmi.slogdet(torch.from_numpy(A))],
    "tensors": lambda A: [skdmi.inv(torch.from_numpy(A)), skdmi.certify(*2 * [torch.from_numpy(A)])],
    "exact": lambda A: [ExactInverter().transform(A)],
    "refined": lambda A: [RefinedInverter(one).fit().report(A) for one in (None, short(), ExactInverter())],
    "block": lambda A: [BlockInverter(short()).fit().transform(make_stack("well", 4, 12, dtype=A.dtype))],
    "unit lower": lambda A: [skdmi.certify(unit_lower(A.dtype), np.linalg.inv(unit_lower(A.dtype)), tight=True)],
    "ensemble": lambda A: [EnsembleInverter([short(), short()], n_estimators=2, combine="best").fit().transform(A)],
    "metrics": of_metrics,
    "distributions": of_distributions,
}
FITS = {
    "polynomial": lambda: fitted(matrix_size=3),
    "feedback": lambda: fitted(matrix_size=3, block="feedback", net_params={"module__precision": "float64"}),
    "dense": lambda: fitted(matrix_size=2, block="dense", optimizer="sgd"),
    "family": lambda: fitted(make_stack("spd", 60, 4), start="family"),
    "members": lambda: fitted(torch.from_numpy(make_stack("spd", 60, 3, dtype=np.float32))),
}


def leaves(found):
    """Return all arrays and other values in what a door returns."""
    if isinstance(found, Tensor):
        return [found]
    if hasattr(found, "__dataclass_fields__"):
        found = vars(found)
    if isinstance(found, dict):
        found = list(found.values())
    return [leaf for part in found for leaf in leaves(part)] if isinstance(found, list | tuple) else [found]


def assert_same(found, expected):
    """Hold every number, dtype and device to what is expected, bit for bit."""
    found, expected = leaves(found), leaves(expected)
    assert list(map(type, found)) == list(map(type, expected))
    for mine, theirs in zip(found, expected, strict=True):
        if isinstance(mine, Tensor):
            assert (mine.dtype, mine.device) == (theirs.dtype, theirs.device)
        np.testing.assert_array_equal(mine, theirs, strict=isinstance(mine, np.ndarray))


@pytest.fixture(params=[pytest.param(True, id="kernels"), pytest.param(False, id="no kernels", marks=pytest.mark.slow)])
def kernels(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(Kernel, "is_ready", lambda *args: False)


@pytest.mark.filterwarnings("ignore::skdmi.exceptions.SingularMatrixWarning")
@pytest.mark.filterwarnings("ignore::skdmi.exceptions.InaccurateInverseWarning")
@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", slow_but([np.float32], [np.float32, np.float64]))
@pytest.mark.parametrize("door", DOORS)
def test_modes_of_torch_change_no_bit_of_an_answer(door, dtype):
    A = everything(3, dtype)
    expected = DOORS[door](A)
    for mode in MODES.values():
        with mode():
            found = DOORS[door](A)
        assert_same(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("fit", FITS)
def test_modes_of_torch_change_no_bit_of_a_training(fit):
    expected = what_was_learned(FITS[fit]())
    for mode in MODES.values():
        with mode():
            network = FITS[fit]()
        assert_same(what_was_learned(network), expected)


def test_what_was_made_in_inference_mode_is_differentiated_after_it():
    with torch.inference_mode():
        network = skdmi.load_pretrained("uniform-3x3-short").estimator
    A = torch.eye(3).expand(2, 3, 3).clone().requires_grad_()
    network.invert(A).sum().backward()
    assert A.grad.isfinite().all()


# Threads


@contextmanager
def quick_switches():
    """Let threads alternate as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def at_once(function, arguments):
    """Return what a function returns to each argument, in a thread each, started together."""
    barrier = threading.Barrier(len(arguments))

    def call(argument):
        barrier.wait()
        return function(argument)

    with quick_switches(), ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(call, arguments))


@pytest.mark.slow
def test_fits_in_threads_give_the_weights_of_fits_alone_and_leave_other_draws_alone():
    seeds = [0, 1, 1, 2]

    def weights(seed):
        return list(fitted(matrix_size=3, random_state=seed).module_.state_dict().values())

    def draws(n_draws):
        return [torch.rand(1) for _ in range(n_draws)]

    def weights_or_draws(task):
        return draws(20_000) if task is None else weights(task)

    expected = [weights(seed) for seed in seeds]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # here, since the list of filters is of all threads
        for _ in range(3):
            torch.manual_seed(0)
            undisturbed = torch.get_rng_state()
            *found, drawn = at_once(weights_or_draws, [*seeds, None])
            assert_same(found, expected)
            torch.set_rng_state(undisturbed)
            assert_same(drawn, draws(20_000))


@pytest.mark.slow
def test_another_number_of_threads_changes_a_training_by_rounding_alone():
    before = torch.get_num_threads()
    weights = []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            network = fitted(matrix_size=8, batch_size=512, learning_rate=2e-3)
            assert network.best_epoch_ > 0
            weights.append(torch.cat([value.flatten() for value in network.module_.state_dict().values()]))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*weights, rtol=0, atol=1e-4)


# One inverter for all


@cache
def inverters():
    """Return an inverter of every kind, and what each finds."""
    loaded = skdmi.load_pretrained("uniform-3x3-short")
    kinds = {
        "exact": ExactInverter(),
        "refined": RefinedInverter(),
        "loaded": loaded,
        "refined loaded": RefinedInverter(loaded).fit(),
        "fitted": fitted(matrix_size=3),
        "block": BlockInverter(loaded, block_size=3).fit(),
        "ensemble": EnsembleInverter([loaded, loaded], n_estimators=2).fit(),
    }
    return {kind: (inverter, inverter.transform(stack())) for kind, inverter in kinds.items()}


def stack():
    return make_stack("well", 64, 3)


def transform(inverter):
    return inverter.transform(stack())


FIRST_USE = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np

sys.setswitchinterval(1e-5)
A = np.random.default_rng(0).normal(size=(64, 3, 3))
barrier = threading.Barrier({n_threads})


def use(k):
    barrier.wait()
    import skdmi
    inverter = [skdmi.ExactInverter, skdmi.RefinedInverter, skdmi.inv, skdmi.load_pretrained][k % 4]
    found = inverter("uniform-3x3-short") if k % 4 == 3 else inverter(A) if k % 4 == 2 else inverter()
    X = found if k % 4 == 2 else found.transform(A)
    return skdmi.certify(A, X).certified.all(), skdmi.slogdet(A).log_abs_det.sum(), X


with ThreadPoolExecutor({n_threads}) as pool:
    found = list(pool.map(use, range({n_threads})))
assert all(np.array_equal(found[k][1], found[0][1]) and np.array_equal(found[k][2], found[k % 4][2]) for k in range(8))
assert found[0][0] and found[1][0] and found[2][0]
"""


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["filled", "empty"])
def test_the_first_use_of_all_may_be_in_threads(cache, tmp_path):
    environment = os.environ if cache == "filled" else os.environ | {"SKDMI_CACHE_DIR": str(tmp_path)}
    program = FIRST_USE.replace("{n_threads}", str(N_THREADS))
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment, check=True, timeout=120)


@pytest.mark.parametrize("kind", ["exact", "refined", "loaded", "refined loaded", "fitted", "block", "ensemble"])
def test_threads_share_an_inverter_from_its_first_use_on(kind):
    inverter, expected = inverters()[kind]
    inverter = pickle.loads(pickle.dumps(inverter))
    by_joblib = Parallel(n_jobs=4, prefer="threads")
    for found in [*at_once(transform, N_THREADS * [inverter]), *by_joblib(4 * [delayed(transform)(inverter)])]:
        assert_same(found, expected)
    lazy = inverter.transform(da.from_array(stack(), chunks=(16, 3, 3)))
    np.testing.assert_allclose(lazy.compute(scheduler="threads", num_workers=4), expected, rtol=1e-5, atol=1e-6)


def assert_all_found(found):
    for (kind, (_, expected)), X in zip(inverters().items(), found, strict=True):
        np.testing.assert_array_equal(X, expected, err_msg=kind)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_share_an_inverter(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"There is no {method} here.")
    shared = [inverter for inverter, _ in inverters().values()]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert_all_found(pool.map(transform, shared))


@pytest.mark.slow
def test_workers_of_joblib_share_an_inverter():
    assert_all_found(Parallel(n_jobs=2)(delayed(transform)(inverter) for inverter, _ in inverters().values()))


@pytest.mark.slow
def test_a_cluster_shares_an_inverter():
    distributed = pytest.importorskip("distributed", reason="it is in the extra quality")
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            2, threads_per_worker=2, dashboard_address=None, silence_logs=logging.ERROR
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        warnings.simplefilter("ignore")  # of its own event loop, and of a port that is taken
        shared = [inverter for inverter, _ in inverters().values()]
        assert_all_found(client.gather(client.map(transform, shared)))
        for inverter, expected in inverters().values():
            lazy = inverter.transform(da.from_array(stack(), chunks=(16, 3, 3)))
            np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-5, atol=1e-6)
