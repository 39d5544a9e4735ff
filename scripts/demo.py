"""The demonstration: generate a real .mx file, invert it with a shipped model, and judge it beside LAPACK.

The same network untrained stands beside it: what training bought is the difference.
"""

import tempfile
from pathlib import Path

import numpy as np

import skdmi
from skdmi.distributions import Uniform
from skdmi.io import iter_stacks, read_stack, write_stack
from skdmi.metrics import frobenius_residuals, relative_inverse_errors

MODEL = "uniform-3x3-short"
N_MATRICES = 10_000


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="skdmi-demo-"))
    matrices, inverses = folder / "matrices_3x3.mx", folder / "inverses_3x3.mx"
    distribution = Uniform()

    write_stack(matrices, distribution.sample(N_MATRICES, 3, random_state=2026))
    network = skdmi.load_pretrained(MODEL)
    certified = skdmi.RefinedInverter(network)
    write_stack(inverses, (certified.transform(stack) for stack in iter_stacks(matrices)))

    A = read_stack(matrices)
    trained = network.estimator
    untrained = skdmi.NeuralMatrixInverter(trained.depth, matrix_size=3, max_epochs=0).fit()
    module = trained.module_
    n_parameters = sum(p.numel() for p in module.parameters())
    print(f"{N_MATRICES} matrices, 3 x 3, {distribution!r}: {matrices}")
    print(f"model {MODEL!r}: trained, {n_parameters} parameters, {module.n_products(3)} products, float32\n")
    print(f"{'residual norm ||I - A X||':28}{'mean':>10}{'p99':>10}{'max':>10}{'error of X':>12}")
    results = {
        "network, untrained": untrained.transform(A),
        "network, trained": network.transform(A),
        "numpy.linalg.inv, float32": np.linalg.inv(A.astype(np.float32)),
        "network, trained, refined": read_stack(inverses),
        "numpy.linalg.inv": np.linalg.inv(A),
    }
    for name, X in results.items():
        norms = frobenius_residuals(A, X)
        error = relative_inverse_errors(A, X).mean()
        print(f"{name:28}{norms.mean():10.1e}{np.quantile(norms, 0.99):10.1e}{norms.max():10.1e}{error:12.1e}")
    print(f"\n{certified.report(A).summary()}")
    print(f"\nInverses: {inverses}")
    with inverses.open() as lines:
        print("".join(line for line, _ in zip(lines, range(4), strict=False)), end="")


if __name__ == "__main__":
    main()
