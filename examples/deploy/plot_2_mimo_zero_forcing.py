"""
MIMO zero-forcing: complex channels and a bit-error curve
=========================================================

A receiver with eight antennas hears eight transmitters at once: :math:`y = H s + n`, with a complex 8 x 8 channel H
that changes all the time. Zero-forcing recovers the symbols as :math:`H^{-1} y`. Hardware affords a fixed number of
matrix products, the same for every channel; a factorisation, with its branches and divisions, fits it badly. How many
products does it take until the bit errors are those of the exact inverse?
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from skdmi import NeuralMatrixInverter, RefinedInverter
from skdmi.iteration import TRANSPOSE, minimal_residual, newton_schulz
from skdmi.linalg import complex_to_real, real_to_complex
from skdmi.metrics import frobenius_residuals

N_ANTENNAS = 8


def channels(n_matrices, matrix_size, *, generator, device, dtype):
    """Draw Rayleigh channels: a distribution is any such callable."""
    parts = torch.randn(2, n_matrices, matrix_size, matrix_size, generator=generator, device=device, dtype=dtype)
    return torch.complex(*parts) / 2**0.5


channels.is_complex = True  # so that fit knows it before it draws

# %%
# Within, a complex matrix B + iC is the real one [[B, -C], [C, B]], and its inverse the inverse. A network of three
# blocks learns such 16 x 16 matrices and no others; without, it takes and returns complex ones.

network = NeuralMatrixInverter(
    depth=3,
    width=8,
    matrix_size=N_ANTENNAS,
    distribution=channels,
    max_epochs=2,
    batches_per_epoch=40,
    batch_size=128,
    random_state=0,
).fit()

# %%
# All candidates spend the matrix products of the network, or one less: one for the start :math:`c A^T`, the last for
# the residual. Newton-Schulz takes two a step, the minimal-residual iteration with three coefficients (MR-3) three and
# a few for accuracy. Deflation takes the two largest directions out of the residual before each step, at the price of a
# few vectors; MR-3 with it is the network untrained.

draws = {"generator": torch.Generator().manual_seed(1), "device": "cpu", "dtype": torch.float32}
H = channels(2_000, N_ANTENNAS, **draws).numpy()
A = torch.from_numpy(complex_to_real(H))
n_products = network.module_.n_products(2 * N_ANTENNAS)
answers = {
    "Newton-Schulz": newton_schulz(A, TRANSPOSE.function(A)[0], (n_products - 2) // 2),
    "MR-3": minimal_residual(A, network.depth),
    "MR-3, deflated": minimal_residual(A, network.depth, rank=2),
}
inverses = {name: real_to_complex(X).numpy() for name, X in answers.items()}
inverses |= {"network": network.transform(H), "exact": np.linalg.inv(H)}

# %%
# 16-QAM: four levels for the real and four for the imaginary part, Gray-coded, two bits each. The same symbols and the
# same noise for everyone, eight uses of each channel.

rng = np.random.default_rng(0)
levels = rng.integers(4, size=(2, len(H), N_ANTENNAS, 8))
symbols = ((2 * levels[0] - 3) + 1j * (2 * levels[1] - 3)) / 10**0.5
noise = (rng.standard_normal(symbols.shape) + 1j * rng.standard_normal(symbols.shape)) * (N_ANTENNAS / 2) ** 0.5
gray = np.array([0b00, 0b01, 0b11, 0b10])


def recover(X, snr_db):
    """Return the symbols as the receiver sees them, on the grid -3, -1, 1, 3."""
    return X @ (H @ symbols + noise * 10 ** (-snr_db / 20)) * 10**0.5


def bit_error_rate(X, snr_db):
    """Decide for the nearest level and count wrong bits."""
    received = recover(X, snr_db)
    decided = [np.clip(np.rint((part + 3) / 2), 0, 3).astype(int) for part in (received.real, received.imag)]
    wrong = gray[levels] ^ gray[np.stack(decided)]
    return np.mean((wrong & 1) + (wrong >> 1)) / 2


snr = np.arange(10, 41, 5)
curves = {name: [bit_error_rate(X, snr_db) for snr_db in snr] for name, X in inverses.items()}
print(f"{n_products} products; Newton-Schulz {(n_products - 2) // 2} steps, MR-3 {network.depth}")
print(f"{'bit error rate at':18}", *(f"{snr_db:5} dB" for snr_db in snr), " mean residual norm")
for name, rates in curves.items():
    norm = f"{frobenius_residuals(H, inverses[name]).mean():12.1e}"
    print(f"{name:18}", *(f"{rate:8.5f}" for rate in rates), norm)

# %%
# Where a proof is wanted, a step or two more finish what the network began, and every channel is certified.

report = RefinedInverter(FrozenEstimator(network)).report(H.astype(complex))
print(report.summary())
print(f"steps after the network: {report.n_steps.mean():.2f} on average, {report.n_steps.max()} at most")

# %%
# The price in bits. At so few products Newton-Schulz never gets there, nor does MR-3 by itself, while with deflation,
# untrained or trained, it lies on the curve of the exact inverse: the singular values of complex matrices made real
# come in pairs, of which a deflation of rank 2 takes the weakest. Training still gains, in the norms of most channels,
# but nothing that bits would notice. In much noise a half-finished inverse does better: zero-forcing amplifies the
# noise of weak directions, which it has not yet reached.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
styles = {
    "exact": {"color": "0.8", "linewidth": 9, "solid_capstyle": "round"},
    "Newton-Schulz": {"color": "C1", "marker": "s"},
    "MR-3": {"color": "C2", "marker": "^"},
    "MR-3, deflated": {"color": "C3", "marker": "o", "markersize": 11, "fillstyle": "none", "linestyle": "none"},
    "network": {"color": "C0", "marker": "o"},
}
for name, style in styles.items():
    ax.plot(snr, curves[name], label=name, **style)
ax.set(yscale="log", xlabel="Signal-to-noise ratio (dB)", ylabel="Bit error rate")
ax.set_title(f"Eight antennas, 16-QAM, {n_products} matrix products")
ax.legend(loc="lower left")

# %%
# What the receiver sees at 35 dB, four symbols of each channel: 16 clouds, sharper the better the inverse.

fig, axes = plt.subplots(1, 2, sharey=True, figsize=(5.6, 3.2))
for ax, name, color in zip(axes, ("Newton-Schulz", "network"), ("C1", "C0"), strict=True):
    seen = recover(inverses[name], 35)[:, 0, :4].ravel()
    ax.plot(seen.real, seen.imag, ".", markersize=1.2, color=color, rasterized=True)
    ax.set(xlim=(-5, 5), ylim=(-5, 5), aspect="equal", title=name, xlabel="In phase")
    ax.set(xticks=[-3, -1, 1, 3], yticks=[-3, -1, 1, 3])
axes[0].set_ylabel("Quadrature")
plt.show()
