"""
Block inversion to N = 512
==========================

:class:`~skdmi.BlockInverter` carries the inverse of 3 x 3 matrices to any size: it halves the matrix by Schur
complements until 3 x 3 pivots are left, which the network inverts, and puts the parts together by matrix products.
:class:`~skdmi.RefinedInverter` around it certifies the result.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

from skdmi import BlockInverter, ExactInverter, RefinedInverter, load_pretrained
from skdmi.distributions import Uniform
from skdmi.inspection import MatrixDisplay
from skdmi.metrics import frobenius_residuals

network = load_pretrained("uniform-3x3-short")
inverters = {
    "3 x 3 network by blocks": BlockInverter(network),
    "the same, certified": RefinedInverter(BlockInverter(network)),
    "LAPACK by blocks of 32": BlockInverter(ExactInverter(), block_size=32),
}
methods = {name: inverter.transform for name, inverter in inverters.items()} | {"numpy.linalg.inv": np.linalg.inv}

for invert in methods.values():  # Once unmeasured.
    invert(Uniform().sample(1, 8, random_state=0))

sizes = [16, 32, 64, 128, 256, 512]
residuals, seconds = ({name: [] for name in methods} for _ in range(2))
for N in sizes:
    A = Uniform().sample(1, N, random_state=N)
    for name, invert in methods.items():
        start = perf_counter()
        X = invert(A)
        seconds[name].append(perf_counter() - start)
        residuals[name].append(frobenius_residuals(A, X)[0])

print(f"{'':26}{'N':>5}{'residual norm':>15}{'ms':>8}")
for k, N in enumerate(sizes):
    for name in methods:
        print(f"{name:26}{N:5}{residuals[name][k]:15.1e}{1e3 * seconds[name][k]:8.1f}")

# %%
# The residuals lie beside those of LAPACK, at every size. The time does not: a network must be asked for the 3 x 3
# pivots one after the other, and for a single matrix numpy is the right tool. What blocks bring is reach: from one
# small model, to every size, with a proof.

report = inverters["the same, certified"].report(A)
print(f"N = {N}: {report.summary()}")

plt.style.use("skdmi.inspection.paper")
styles = {
    "the same, certified": ("3 x 3 network by blocks, certified", "o-", "C0"),
    "LAPACK by blocks of 32": ("LAPACK by blocks of 32", "^-", "C2"),
    "numpy.linalg.inv": ("numpy.linalg.inv", "s-", "C6"),
}
for values, title in ((residuals, r"Residual norm $\|I - AX\|_F$"), (seconds, "Seconds for one matrix")):
    fig, ax = plt.subplots()
    for shift, (name, (label, style, color)) in zip((0.94, 1.0, 1.06), styles.items(), strict=True):
        ax.plot(np.array(sizes) * shift, values[name], style, color=color, linewidth=1, label=label)
    ax.set(xscale="log", yscale="log", xlabel="N", title=title)
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
    fig.legend(loc="outside lower center", ncols=2)

# %%
# A matrix whose inverse one can see: the second differences of a chain of 100 points have Green's function, a tent over
# each point, as their inverse. The residual is at the rounding of float64 in every entry.

chain = 2 * np.eye(100) - np.eye(100, k=1) - np.eye(100, k=-1)
display = MatrixDisplay.from_estimator(BlockInverter(network), chain, name="")
plt.show()
