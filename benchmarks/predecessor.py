"""The predecessor's command at its own problem: seconds, and the accuracy of the ensemble beside what is unlearned.

``python -m benchmarks.predecessor [--n-matrices 10000] [--quick]`` runs
``dmxtrain --msize 3 --epochs 5 --n_repeats 2 --batch_size 1024 --mout M`` and prints the residual norms
``||I - A X||_F`` of what the ensemble answers, neither refined nor certified, on fresh matrices of the published
distribution (3x3, entries U[-1,1], abs(det) > 0.1), beside those of minimal-residual iterations, that of the untrained
network among them, at no fewer products than one network spends, and those of DeepMatrixInversion's own ensemble of
three on its own 10,000 test matrices. All compute in float32; residuals are measured in float64.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.lib.machine import keep_to_one_thread
from skdmi import EnsembleInverter
from skdmi.distributions import Uniform
from skdmi.iteration import count_products, minimal_residual
from skdmi.metrics import frobenius_residuals

COMMAND = "dmxtrain --msize 3 --epochs 5 --n_repeats 2 --batch_size 1024 --mout M"
QUICK = " --nmx_samples 4096"
PUBLISHED = {"mean": 0.0226, "p99": 0.0872, "max": 0.251}


def train(command: str, folder: Path) -> tuple[EnsembleInverter, float]:
    program, *options = command.split()
    started = time.perf_counter()
    run = [Path(sys.executable).with_name(program), *options]
    subprocess.run(run, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    (directory,) = folder.glob("M_*")
    return EnsembleInverter.from_pretrained(directory), seconds


def row(name: str, products: object, parameters: object, mean: float, p99: float, largest: float) -> str:
    return f"{name:38}{products:>9}{parameters:>12}{mean:10.2e}{p99:10.2e}{largest:10.2e}"


def measured(name: str, products: object, parameters: object, A: np.ndarray, X: np.ndarray) -> str:
    norms = frobenius_residuals(A, X)
    return row(name, products, parameters, norms.mean(), np.quantile(norms, 0.99), norms.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-matrices", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help=f"with{QUICK}")
    options = parser.parse_args()
    machine = keep_to_one_thread()
    command = COMMAND + QUICK * options.quick
    with tempfile.TemporaryDirectory() as folder:
        ensemble, seconds = train(command, Path(folder))
    networks = [one.estimator.module_ for one in ensemble.estimators_]
    n_parameters = sum(parameter.numel() for network in networks for parameter in network.parameters())
    products = networks[0].n_products(3)
    n_steps = min(n for n in range(1, products) if count_products(n) >= products)
    A = Uniform(min_abs_det=0.1).sample(options.n_matrices, 3, random_state=2024).astype(np.float32)
    print(f"{machine}; {options.n_matrices:,} matrices")
    print(f"{command}: {seconds:.0f} s")
    print(f"{'method':38}{'products':>9}{'parameters':>12}{'mean':>10}{'p99':>10}{'max':>10}")
    print(row("DeepMatrixInversion, published", "-", "14,138,139", *PUBLISHED.values()))
    for k in (2, 3):
        X = minimal_residual(torch.from_numpy(A), n_steps, n_coefficients=k).numpy()
        print(measured(f"MR-{k}", count_products(n_steps), 0, A, X))
    X = minimal_residual(torch.from_numpy(A), n_steps, rank=2).numpy()
    print(measured("untrained: MR-3, deflated", count_products(n_steps), 0, A, X))
    print(measured("LAPACK, float32", "-", 0, A, np.linalg.inv(A)))
    name, spent = f"this ensemble of {len(networks)}, not refined", f"{len(networks)} x {products}"
    print(measured(name, spent, f"{n_parameters:,}", A, ensemble.transform(A)))


if __name__ == "__main__":
    main()
