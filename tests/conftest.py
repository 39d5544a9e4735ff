import pytest
from hypothesis import HealthCheck, settings

from skdmi import ExactInverter, NeuralMatrixInverter
from skdmi.lanes.kernels import KERNELS

# The same examples in every run, however slow the machine; `pytest --hypothesis-profile=explore` tries others.
settings.register_profile("explore", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeat", settings.get_profile("explore"), derandomize=True)
settings.load_profile("repeat")


def pytest_configure(config):
    """Compile the kernels before workers, which would all do it, start; without numba there is nothing to compile."""
    if not hasattr(config, "workerinput"):
        for kernel in KERNELS.values():
            kernel.compile()


@pytest.fixture(scope="session")
def tiny_network():
    """A fitted network, of use for everything but accuracy; tests that change it change a deep copy."""
    training = {"max_epochs": 3, "batches_per_epoch": 8, "batch_size": 64, "learning_rate": 1e-2}
    return NeuralMatrixInverter(depth=2, width=8, matrix_size=3, random_state=0, **training).fit()


@pytest.fixture(params=["exact", "network"])
def inverter(request):
    """Every inverter that is ready to transform 3 x 3 matrices."""
    return ExactInverter() if request.param == "exact" else request.getfixturevalue("tiny_network")
