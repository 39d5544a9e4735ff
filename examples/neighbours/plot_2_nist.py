"""
Normal equations: which digits of a regression to trust
=======================================================

The Statistical Reference Datasets of NIST try regressions with data that are hard and answers that are certified to 15
digits. The normal equations, :math:`\\beta = (X^T X)^{-1} X^T y`, are what one should not use on them: they square the
condition number, and a QR factorisation of X is the better way. How many digits does each leave, and who warns?
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import solve_triangular

import skdmi

# %%
# Data and certified coefficients are NIST's (https://www.itl.nist.gov/div898/strd/lls/lls.shtml), here without decimal
# point: y and x of Norris, both in tenths; of Longley employment, deflator in tenths, and five columns more. Wampler's
# are polynomials through 0 ... 20, the last three with a noise that is orthogonal to the powers.

NORRIS = """1 2 3388 3374 1181 1182 8880 8846 92 101 2281 2265 6685 6663 9985 9963 4491 4486 7789 7770 5592 5582 3 4 1 6
7781 7755 6688 6669 3393 3380 4489 4475 108 116 5577 5560 2283 2281 9980 9958 8888 8876 1196 1202 3 3 6 3 5576 5568 3393
3391 8880 8872 9985 9990 7789 7790 102 111 1176 1183 2289 2292 6684 6691 4492 4489 2 5"""
LONGLEY = """60323 830 234289 2356 1590 107608 1947 61122 885 259426 2325 1456 108632 1948 60171 882 258054 3682 1616
109773 1949 61187 895 284599 3351 1650 110929 1950 63221 962 328975 2099 3099 112075 1951 63639 981 346999 1932 3594
113270 1952 64989 990 365385 1870 3547 115094 1953 63761 1000 363112 3578 3350 116219 1954 66019 1012 397469 2904 3048
117388 1955 67857 1046 419180 2822 2857 118734 1956 68169 1084 442769 2936 2798 120445 1957 66513 1108 444546 4681 2637
121950 1958 68655 1126 482704 3813 2552 123366 1959 69564 1142 502601 3931 2514 125368 1960 69331 1157 518173 4806 2572
127852 1961 70551 1169 554894 4007 2827 130081 1962"""
TENTHS = {"Norris": [1, 10], "Longley": [1, 10, 1, 1, 1, 1, 1]}
BETA = {"Norris": "-0.262323073774029 1.00211681802045"}
BETA["Longley"] = """-3482258.63459582 15.0618722713733 -0.0358191792925910 -2.02022980381683 -1.03322686717359
-0.0511041056535807 1829.15146461355"""
problems = {}
for name, text, unit in (("Norris", NORRIS, 10), ("Longley", LONGLEY, 1)):
    y, *columns = np.array(text.split(), dtype=float).reshape(-1, len(TENTHS[name])).T
    X, beta = np.stack([np.ones_like(y), *columns], axis=1), np.array(BETA[name].split(), dtype=float)
    problems[name] = X / TENTHS[name], y / unit, beta
    problems[f"{name}, whole"] = X, y, beta / TENTHS[name] * unit
powers, ones, tens = np.vander(np.arange(21.0), 6, increasing=True), np.ones(6), 10.0 ** np.arange(5, -1, -1)
half = [759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048]
noise = np.array([*half, 2048, *half[::-1]])
problems |= {"Wampler 1": (powers, powers @ ones, ones), "Wampler 2": (powers, powers @ tens / 1e5, tens / 1e5)}
problems["Wampler 2, whole"] = powers, powers @ tens, tens
problems |= {f"Wampler {k}": (powers, powers @ ones + 100 ** (k - 3) * noise, ones) for k in (3, 4, 5)}

# %%
# An inverse can be right to the last bit and the coefficients wrong, as the product with :math:`X^T y` cancels. But
# they are entries of an inverse themselves, that of the *bordered* matrix: the last column of
#
# .. math:: \begin{pmatrix} X^T X & -X^T y \\ 0 & 1 \end{pmatrix}^{-1}
#    = \begin{pmatrix} (X^T X)^{-1} & (X^T X)^{-1} X^T y \\ 0 & 1 \end{pmatrix}.
#
# ``tight=True`` of :func:`skdmi.certify` bounds the error of every entry, so of every coefficient. Where these are
# multiplied out, it is the entries' bound times :math:`|X^T y|`, and the rounding of the product.
tight = partial(skdmi.inv, tight=True)


def coefficients(X, y):
    """Yield the names of ways, their coefficients, and bounds on the errors that are proved, if any."""
    gram, moment = X.T @ X, X.T @ y
    for name, invert in (("numpy.linalg.inv", np.linalg.inv), ("skdmi.inv", skdmi.inv), ("tight", tight)):
        G = invert(gram)
        bound = skdmi.certify(gram, G, tight=True).entry_bound + 1.01 * len(G) * 2.0**-53 * np.abs(G)
        yield name, G @ moment, bound @ np.abs(moment)
    bordered = np.block([[gram, -moment[:, None]], [np.zeros_like(moment), 1.0]])
    inverse = tight(bordered)
    yield "bordered", inverse[:-1, -1], skdmi.certify(bordered, inverse, tight=True).entry_bound[:-1, -1]
    Q, R = np.linalg.qr(X)
    yield "QR of X", solve_triangular(R, Q.T @ y), np.full(len(R), np.nan)


def n_digits(error, beta):
    """Return the digits of the worst coefficient, at most 15: the negative logarithm of the relative error."""
    return -np.log10(np.clip(np.abs(error / beta).max(), 1e-15, 1))


digits, proved = {}, {}
for problem, (X, y, true) in problems.items():
    found = {name: (beta, bound) for name, beta, bound in coefficients(X, y)}
    digits[problem] = {name: n_digits(beta - true, true) for name, (beta, _) in found.items()}
    proved[problem] = {name: n_digits(bound, beta) for name, (beta, bound) in found.items()}
print(f"{'digits (and proved)':20}", *(f"{name:>17}" for name in digits["Norris"]))
for problem, row in digits.items():
    print(f"{problem:20}", *(f"{n:10.1f} ({proved[problem][name]:4.1f})" for name, n in row.items()))

# %%
# Multiplied out, an inverse that is right to its last bit saves up to three of the digits that LAPACK's loses, and QR
# is better on what is hard, but for Wampler 5, whose residuals are huge. The proved digits warn, and can be believed.
# As entries of the bordered inverse the coefficients have every digit, more than by QR, but only where data are whole
# numbers, and :math:`X^T X` is exact. In units with a decimal point its rounding cannot be mended: the proof is about
# the numbers that were given, so its 15 digits are those of other equations. QR never forms them, and is what to use.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
rows = np.arange(len(problems))
formats = {"numpy.linalg.inv": "C1s", "skdmi.inv": "C0o", "bordered": "C2D", "QR of X": "kx"}
for name, markers in formats.items():
    ax.plot([digits[problem][name] for problem in problems], rows, markers, label=name)
for name, color in (("numpy.linalg.inv", "C1"), ("skdmi.inv", "C0")):
    ends = [[of[problem][name] for problem in problems] for of in (proved, digits)]
    ax.hlines(rows, *ends, color=color, linewidth=1.2)
ax.set_yticks(rows, problems)
ax.invert_yaxis()
ax.set(xlim=(0, 15.5), xlabel="Worst coefficient: digits proved (lines) and correct")
fig.legend(loc="outside upper center", ncols=4, columnspacing=1, handletextpad=0.2)
plt.show()
