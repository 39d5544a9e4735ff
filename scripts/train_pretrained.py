"""Train the shipped models anew: ``python scripts/train_pretrained.py [NAME ...]``, by default all of them.

Each writes its directory in ``skdmi/pretrained/`` (weights, and a card with settings, seed, domain and history), and
prints its log.
"""

import argparse
import platform
import time

import torch

from skdmi import NeuralMatrixInverter
from skdmi.distributions import Mixture, Spectrum, Uniform
from skdmi.persistence import SHIPPED

MODELS = {
    "uniform-3x3": {
        "depth": 2,
        "matrix_size": 3,
        "distribution": Mixture((Uniform(), Spectrum(max_cond=1e3)), weights=(0.8, 0.2)),
        "max_epochs": 40,
    },
    "uniform-5x5": {"depth": 3, "matrix_size": 5, "distribution": Uniform(), "max_epochs": 60},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(MODELS)}")
    names = parser.parse_args().names or list(MODELS)
    unknown = sorted(set(names) - set(MODELS))
    if unknown:
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    for name in names:
        print(f"{name} on {platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
        started = time.perf_counter()
        inverter = NeuralMatrixInverter(**MODELS[name], random_state=0, verbose=1).fit()
        inverter.set_params(verbose=0).save_pretrained(SHIPPED / name)
        print(f"{name}: {inverter.n_matrices_seen_} matrices in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
