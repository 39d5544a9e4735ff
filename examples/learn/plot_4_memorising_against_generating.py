"""
Memorising against generating
=============================

A network can be good on the matrices of its training and bad on all others. DeepMatrixInversion and skdmi therefore
train on a stream, in which no matrix comes twice. Here is what happens without: the same training, of the same number
of steps, on fixed pools of 1,000, 10,000 and 100,000 matrices and on the stream.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from skdmi import NeuralMatrixInverter
from skdmi.distributions import Uniform
from skdmi.metrics import mean_frobenius_residual
from skdmi.modules import InverterResNet

distribution = Uniform(min_abs_det=0.1)  # That of DeepMatrixInversion.
POOLS = {"1,000": 1_000, "10,000": 10_000, "100,000": 100_000, "stream": None}


def pool_sampler(pool):
    """Return a distribution that draws from a fixed pool, with replacement."""
    members = torch.from_numpy(pool).float()

    def draw(n_matrices, matrix_size, *, generator, device, dtype):
        chosen = torch.randint(len(members), (n_matrices,), generator=generator, device=device)
        return members.to(device, dtype)[chosen]

    return draw


# %%
# Two kinds of network. ``"dense"`` is the predecessor's: layers of weights on the nine entries of 3 x 3 matrices.
# ``"polynomial"``, the default, reads a few scalars that do not tell one matrix from another, and corrects the
# coefficients of the deflated minimal-residual iteration; it has two blocks and is trained on 8 x 8 matrices, since at
# 3 x 3, or with a third block, that iteration leaves next to nothing to learn. The loss is the mean residual norm
# alone.

NETWORKS = {
    "dense": {
        "matrix_size": 3,
        "block": "dense",
        "depth": 1,
        "width": 48,
        "batches_per_epoch": 400,
        "learning_rate": 8e-3,
    },
    "polynomial": {
        "matrix_size": 8,
        "block": "polynomial",
        "depth": 2,
        "width": 8,
        "batches_per_epoch": 20,
        "learning_rate": 5e-3,
    },
}


def train(distribution, **parameters):
    """Return a network trained on matrices of a distribution, with the identity loss."""
    return NeuralMatrixInverter(
        distribution=distribution, max_epochs=1, batch_size=100, log_weight=0, random_state=0, **parameters
    ).fit()


# %%
# A pool is judged on its first 10,000 matrices at most, the stream on matrices that it might have sent, and all on the
# same fresh ones. The polynomial network untrained is an iteration without parameters.

results = {}
print(f"{'':12}{'parameters':>10}{'pool':>10}{'on the pool':>14}{'fresh':>9}")
for name, parameters in NETWORKS.items():
    m = parameters["matrix_size"]
    everything = distribution.sample(100_000, m, random_state=0)
    fresh = distribution.sample(10_000, m, random_state=1)
    for label, size in POOLS.items():
        pool = everything[:size]
        network = train(pool_sampler(pool) if size else distribution, **parameters)
        results[name, label] = -network.score(pool[:10_000]), -network.score(fresh)
        n_parameters = sum(weights.numel() for weights in network.module_.parameters())
        print(f"{name:12}{n_parameters:10,}{label:>10}{results[name, label][0]:14.1e}{results[name, label][1]:9.1e}")
with torch.no_grad():
    untrained = mean_frobenius_residual(fresh, InverterResNet(parameters["depth"])(torch.from_numpy(fresh)))
print(f"untrained, 8 x 8, fresh: {untrained:.1e}")

# %%
# Above 1 is what was memorised, and for the polynomial network also chance: a few nearly singular matrices make much of
# its mean. The dense network does best on its 1,000 matrices, and for that worst on fresh ones; the larger the pool,
# the smaller the gap, and on the stream there is none. The polynomial network cannot memorise: a small pool teaches it
# as much as the stream.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
place = np.arange(len(POOLS))
for (name, parameters), color, y in zip(NETWORKS.items(), ("C1", "C0"), (1.3, 0.96), strict=True):
    on_pool, on_fresh = np.transpose([results[name, label] for label in POOLS])
    ax.plot(place, on_fresh / on_pool, "o-", color=color)
    m = parameters["matrix_size"]
    ax.text(0.45, y, f'block="{name}", {m} x {m}', color=color, weight="bold", va="center")
ax.set_xticks(place, POOLS)
ax.set(ylim=(0.9, 1.55), xlabel="Matrices in the pool", ylabel="Fresh over pool")
ax.set_title(r"Mean of $\|I - AX\|_F$ on fresh matrices, over that on the pool's")
plt.show()
