"""
Export a family
===============

Where an inverse is needed there may be no LAPACK, no Python, no torch: a phone, a browser, a signal processor. What a
network has learned of a family of matrices then goes there as one file of standard ONNX operators. Beside each inverse
the file returns ``rho``, and where that is below 1, the matrix is proved to be nonsingular and the relative error to be
at most ``rho``.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator

from skdmi import NeuralMatrixInverter, RefinedInverter
from skdmi.distributions import GaussianProcessKernel, Uniform, Wishart

# %%
# The family: covariances of a Gaussian process at the 16 points of a grid, whose length scale and noise change. A
# network is fitted to 300 of them; nothing is trained, the start is all that is learned.

family = GaussianProcessKernel("grid", length_scales=(0.1, 1.0), noise=(1e-3, 1e-1))
X = family.sample(300, 16, random_state=1)
network = NeuralMatrixInverter(start="family", n_atoms=12, max_epochs=0, random_state=0).fit(X)

# %%
# ``RefinedInverter`` makes the file: what the start proposes, then as many steps as a ``share`` of the matrices need to
# be certified with a bound of 0.01, or as good a one as float32 allows. A file has no branches, so every matrix takes
# these steps, and matrices are drawn to choose their number by.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "kernels.onnx"
inverter = RefinedInverter(FrozenEstimator(network), tol=1e-2).fit(X)
inverter.export(path, family.sample(2_000, 16, random_state=2), share=0.999)
print(f"{path.stat().st_size:,} bytes")

# %%
# Three kinds of matrices that the file has not seen: members, and two kinds of outsiders. The file runs in a process
# that knows numpy and onnxruntime, nothing else, on one thread. Its time is printed beside that of ``numpy.linalg.inv``
# on the same members, 1,000 at once; which is faster depends on the machine. On a CPU that has LAPACK, ``skdmi.inv`` is
# what to use.

stacks = {
    "members": family.sample(1_000, 16, random_state=3),
    "Wishart": Wishart().sample(1_000, 16, random_state=3),
    "uniform": Uniform().sample(1_000, 16, random_state=3),
}
np.savez(Path(folder.name) / "stacks.npz", **{name: A.astype(np.float32) for name, A in stacks.items()})

program = """
import sys, time
import numpy as np, onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("kernels.onnx", options, providers=["CPUExecutionProvider"])
stacks = dict(np.load("stacks.npz"))
for name, A in stacks.items():
    inverse, rho, residual_norm = session.run(None, {"A": A})
    np.savez(name, inverse=inverse, rho=rho)

def spent(call):
    started = time.process_time()
    call()
    return time.process_time() - started

A = stacks["members"]
turns = [(spent(lambda: session.run(None, {"A": A})), spent(lambda: np.linalg.inv(A))) for _ in range(21)]
print(f"time over that of numpy.linalg.inv: {np.median([mine / numpys for mine, numpys in turns]):.2f}")
print("torch is imported:", "torch" in sys.modules)
"""
command = [sys.executable, "-c", program]
finished = subprocess.run(command, cwd=folder.name, check=True, capture_output=True, text=True)
print(finished.stdout)
answers = {name: dict(np.load(Path(folder.name) / f"{name}.npz")) for name in stacks}
folder.cleanup()

# %%
# Members are certified. Most outsiders are not: the start is no good for them, and so few steps do not make up for it.
# The file does not have to know what a member is, since each inverse is proved by itself: an outsider that is certified
# nonetheless is inverted as well as ``rho`` says, which inverses in float64 confirm. What is not certified goes
# elsewhere: to the file of :func:`skdmi.export.fixed`, or to LAPACK.

certified, errors = {}, {}
for name, A in stacks.items():
    inverse, rho = answers[name]["inverse"], answers[name]["rho"]
    exact = np.linalg.inv(A.astype(np.float32).astype(np.float64))
    errors[name] = np.linalg.norm(inverse - exact, axis=(1, 2)) / np.linalg.norm(exact, ord=2, axis=(1, 2))
    certified[name] = rho < 1
    n_false = np.sum(certified[name] & (errors[name] > rho))
    print(f"{name:8} certified: {certified[name].mean():6.1%}, of these with an error above rho: {n_false}")

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
bins = np.geomspace(1e-5, 1e5, 61)
labels = {"members": (1e-3, 200, "C0"), "Wishart": (0.11, 40, "C1"), "uniform": (1.5e3, 130, "C2")}
for name, answer in answers.items():
    x, y, color = labels[name]
    rho = np.nan_to_num(answer["rho"], nan=np.inf).clip(bins[0], bins[-1])
    ax.hist(rho, bins, histtype="step", color=color, linewidth=1.7)
    ax.hist(rho, bins, color=color, alpha=0.25)
    ax.text(x, y, name, color=color, ha="center", weight="bold")
ax.axvline(1, color="black", linestyle=":", linewidth=1.2)
ax.text(0.7, 1.4e3, "proved", ha="right", va="top")
ax.set(xscale="log", yscale="log", ylim=(0.7, 2e3), xlim=(5e-6, 2e5), ylabel="Matrices")
ax.set(xlabel=r"$\rho$; what is above $10^5$ in the last bar", title="One file: members of the family, and outsiders")
plt.show()
