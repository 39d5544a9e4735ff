"""
Was that inverse right?
=======================

An inverse that is wrong looks like one that is right. ``skdmi.datasets`` has small stacks of matrices that break
inverses, with exact inverses beside them, and a judge that runs any function on them. Four are judged here: those of
numpy and torch; a kernel such as accelerators have for chunks of linear attention; and a learned inverse.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import skdmi
from skdmi.datasets import audit, judge

# %%
# The kernel inverts unit lower triangular matrices by products alone. With :math:`A = I - N` and :math:`N^m = 0`, the
# product :math:`(I + N)(I + N^2)(I + N^4) \cdots` is the inverse: exactly, after :math:`\log_2 m` factors, in exact
# arithmetic.


def chunk_kernel(A):
    """Return the inverse of unit lower triangular matrices by doubling."""
    identity = torch.eye(A.shape[-1], dtype=A.dtype)
    N = identity - A
    X = identity + N
    for _ in range(1, (A.shape[-1] - 1).bit_length()):
        N = N @ N
        X = X + X @ N
    return X


# %%
# A case of the audit: chunks of the delta rule, :math:`A = I + \mathrm{tril}(\mathrm{diag}(\beta) K K^T, -1)`. When the
# same key comes again and again, no entry of the inverse exceeds 1, but the powers of N have binomial coefficients for
# entries, and what should cancel does not.

case = audit("delta-rule-64", dtype="float32")
repeated = 1  # All keys are equal, and all rates 1.
exact, X = case.inverse[repeated], chunk_kernel(torch.from_numpy(case.matrices[repeated])).numpy()
print(case.description)
print(f"largest entry of the inverse: {np.abs(exact).max():.0f}, of what the kernel returns: {np.abs(X).max():.1e}")

# %%
# The judge asks for inverses, however a function takes its matrices, and holds every answer against the exact inverse.
# It is *right* if its error is at most what a backward stable method may have for this very matrix, in units in which
# all rows and columns are alike. Otherwise something may be *said*: an error, NaN, a flag, a warning. If nothing is, it
# is *wrong and silent*. Of a singular matrix, to say so is right. On the command line this is
# ``skdmi audit python:module.function``.
#
# Everything is float32 here, in which numpy has an easy time, since it computes in float64 and rounds. The kernel gets
# chunks alone, and the learned inverse, which was trained on uniform entries at 16 x 16, matrices of that size.

METHODS = {
    "numpy.linalg.inv": (np.linalg.inv, {}),
    "torch.linalg.inv": (torch.linalg.inv, {}),
    "chunk kernel": (chunk_kernel, {"families": ["delta-rule"]}),
    "learned inverse": (skdmi.load_pretrained("uniform-16x16-short").transform, {"sizes": [16]}),
}
alone = {name: judge(call, dtype="float32", **asked) for name, (call, asked) in METHODS.items()}
for name, report in alone.items():
    print(f"\n{name}\n{report}")

# %%
# :func:`skdmi.certify` checks answers without knowing the exact inverse, or who computed them: it proves from A and X
# alone that A is nonsingular, and how large the error is at most. A function that returns such a flag beside X is
# silent no more. ``tight=True`` makes the bound hardly larger than the error, so that a tolerance can be asked for: a
# relative error of at most :math:`10^{-6}`, some units of roundoff.

TOLERANCE = 1e-6


def with_certificate(call):
    """Return a function that says which of the answers are proved to be good."""

    def checked(A):
        X = call(A)
        report = skdmi.certify(A, X, tight=True)
        return X, report.certified & (report.error_bound <= TOLERANCE)

    return checked


certified = {name: judge(with_certificate(call), dtype="float32", **asked) for name, (call, asked) in METHODS.items()}
flagged = {}
for name, report in certified.items():
    counts = report.counts()
    rows = report.to_frame()
    flagged[name] = int((rows.said_so & (rows.verdict == "right") & (rows.allowed > 0)).sum())
    print(f"{name:16} {counts}, of the right ones without proof of {TOLERANCE:g}: {flagged[name]}")

# %%
# Nothing that is wrong is left without a word. Some answers that are right in the eyes of the judge have no proof of so
# small an error: their matrices are so ill-conditioned that no stable method reaches it in float32, or that another
# matrix that rounds to the same bits is singular. Answers to singular matrices count as right now, for they are
# withdrawn. The bound is one for the whole inverse, in the units of A; ``entry_bound`` of the report has one for every
# entry.

COLORS = {"right": "C0", "wrong and said so": "#c0c0c0", "wrong and silent": "C1"}
TEXT = {"right": "white", "wrong and said so": "black", "wrong and silent": "white"}
plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
places, names = [], []
for k, name in enumerate(METHODS):
    for shift, label, report in ((0.0, name, alone[name]), (0.42, "with certify", certified[name])):
        places.append(k + shift)
        names.append(label)
        left, counts = 0.0, report.counts()
        for verdict, color in COLORS.items():
            share = 100 * counts[verdict] / sum(counts.values())
            bar = ax.barh(k + shift, share, 0.38, left, color=color, label=verdict if k + shift == 0 else None)
            number = [counts[verdict] if share > 4 else ""]
            ax.bar_label(bar, number, label_type="center", fontsize=9, color=TEXT[verdict])
            left += share
ax.set_yticks(places, names, fontsize=9)
ax.invert_yaxis()
ax.grid(visible=False)
ax.set(xlabel="Share of the matrices, %; their numbers in the bars", xlim=(0, 100))
fig.legend(loc="outside upper center", ncols=3)
plt.show()
