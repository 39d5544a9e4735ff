"""
Residual against condition number
=================================

What makes a matrix hard to invert is its condition number, not its determinant: the best possible answer in floating
point has a residual norm of about :math:`u \\, \\kappa(A)`, with u the unit roundoff. Here are 3 x 3 matrices with
condition numbers from 1 to :math:`10^{12}`, evenly spread on a logarithmic scale.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from skdmi import RefinedInverter, load_pretrained
from skdmi.distributions import Spectrum
from skdmi.inspection import ResidualDisplay
from skdmi.iteration import minimal_residual
from skdmi.metrics import frobenius_residuals
from skdmi.modules import InverterResNet

A = Spectrum(max_cond=1e12).sample(3_000, 3, random_state=0)
network = load_pretrained("uniform-3x3-short")
report = RefinedInverter(network).report(A)
print(report.summary())

# %%
# Five answers: the shipped network's; that of the same network before training, which is the minimal-residual iteration
# with deflation; that of the iteration without it; the network's, refined and certified; and LAPACK's. The first three
# spend the same matrix products and compute in float32, the others in float64. Refinement doubles the correct digits a
# step, but first has to reach the smallest singular value. Where that takes too long, LAPACK inverts, and that, too, is
# certified: the last column says for how many.

trained = network.estimator
untrained = InverterResNet(trained.depth, trained.width, start=trained.start_, matrix_size=3)
print(f"{trained.module_.n_products(3)} products, {trained.depth} blocks or steps")

answers = {"network": network.transform(A)}
with torch.no_grad():
    answers["untrained"] = untrained(torch.from_numpy(A).float()).double().numpy()
answers["iteration"] = minimal_residual(torch.from_numpy(A).float(), trained.depth).double().numpy()
answers["refined"] = report.inverse
answers["numpy"] = np.linalg.inv(A)
residuals = {name: frobenius_residuals(A, X) for name, X in answers.items()}
condition = np.linalg.cond(A)

print("median residual norm by condition number")
print(f"{'':14}", *(f"{name:>10}" for name in answers), " certified  by LAPACK")
for low, high in ((1, 10), (10, 1e2), (1e2, 1e4), (1e4, 1e6), (1e6, 1e8), (1e8, 1e10), (1e10, 1e12)):
    inside = (low <= condition) & (condition < high)
    medians = (f"{np.median(norms[inside]):10.1e}" for norms in residuals.values())
    certified, exact = report.certified[inside].mean(), (report.source[inside] == "exact").mean()
    print(f"{low:5.0e} - {high:5.0e} ", *medians, f"{certified:10.1%} {exact:10.1%}")

# %%
# The network as it answers: no answer at all beyond what so few products in float32 can reach, and the residual norm,
# near 1 and above, says so.

plt.style.use("skdmi.inspection.paper")
raw = ResidualDisplay.from_predictions(A, answers["network"].astype(np.float32), name="Network (float32)")
raw.ax_.set_ylim(1e-8, 1e3)

# %%
# Refined: at the rounding of float64, each with a proof that the matrix is nonsingular.

refined = ResidualDisplay.from_predictions(A, answers["refined"], name="Refined and certified (float64)")
plt.show()
