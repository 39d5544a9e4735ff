"""The predecessor's command at its own problem: seconds, and the accuracy of the ensemble beside what is unlearned.

``python benchmarks/predecessor.py [--n-matrices 10000]`` runs
``dmxtrain --msize 3 --epochs 5 --n_repeats 2 --batch_size 1024 --mout M`` and prints the residual norms
``||I - A X||_F`` of what the ensemble answers, neither refined nor certified, on fresh matrices of the published
distribution (3x3, entries U[-1,1], abs(det) > 0.1), beside those of the untrained minimal-residual iterations at no
fewer products than one network spends, and those of DeepMatrixInversion's own ensemble of three on its own 10,000 test
matrices. All compute in float32; residuals are measured in float64.
"""

import argparse
import math
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from skdmi import EnsembleInverter
from skdmi.distributions import Uniform
from skdmi.iteration import minimal_residual
from skdmi.metrics import frobenius_residuals

COMMAND = "dmxtrain --msize 3 --epochs 5 --n_repeats 2 --batch_size 1024 --mout M"
PUBLISHED = {"mean": 0.0226, "p99": 0.0872, "max": 0.251}


def train(folder: Path) -> tuple[EnsembleInverter, float]:
    program, *options = COMMAND.split()
    started = time.perf_counter()
    subprocess.run([Path(sys.executable).with_name(program), *options], cwd=folder, check=True)
    seconds = time.perf_counter() - started
    (directory,) = folder.glob("M_*")
    return EnsembleInverter.from_pretrained(directory), seconds


def n_products(n_steps: int) -> int:
    return 1 + 3 * n_steps + math.ceil(n_steps / 3)


def row(name: str, products: object, parameters: object, mean: float, p99: float, largest: float) -> str:
    return f"{name:38}{products:>9}{parameters:>12}{mean:10.2e}{p99:10.2e}{largest:10.2e}"


def measured(name: str, products: object, parameters: object, A: np.ndarray, X: np.ndarray) -> str:
    norms = frobenius_residuals(A, X)
    return row(name, products, parameters, norms.mean(), np.quantile(norms, 0.99), norms.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-matrices", type=int, default=10_000)
    n_matrices = parser.parse_args().n_matrices
    with tempfile.TemporaryDirectory() as folder:
        ensemble, seconds = train(Path(folder))
    networks = [one.estimator.module_ for one in ensemble.estimators_]
    n_parameters = sum(parameter.numel() for network in networks for parameter in network.parameters())
    products = networks[0].n_products(3)
    n_steps = min(n for n in range(products) if n_products(n) >= products)
    A = Uniform(min_abs_det=0.1).sample(n_matrices, 3, random_state=2024).astype(np.float32)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {n_matrices:,} matrices")
    print(f"{COMMAND}: {seconds:.0f} s")
    print(f"{'method':38}{'products':>9}{'parameters':>12}{'mean':>10}{'p99':>10}{'max':>10}")
    print(row("DeepMatrixInversion, published", "-", "14,138,139", *PUBLISHED.values()))
    for k in (2, 3):
        X = minimal_residual(torch.from_numpy(A), n_steps, n_coefficients=k).numpy()
        print(measured(f"MR-{k}, untrained", n_products(n_steps), 0, A, X))
    X = ensemble.transform(A)
    print(
        measured(
            f"this ensemble of {len(networks)}, not refined", f"{len(networks)} x {products}", f"{n_parameters:,}", A, X
        )
    )


if __name__ == "__main__":
    main()
