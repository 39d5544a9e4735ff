"""The certificate of a graph: a proof in float32 alone, by one product."""

from typing import NamedTuple

from skdmi.export.graph import Graph, Value
from skdmi.export.scale import Scaled

UNIT = 2.0**-24
CERTIFIED_UP_TO = 4096
"""No matrix of a larger size is certified."""


class Certified(NamedTuple):
    """What a certificate says, one number a matrix."""

    rho: Value
    residual_norm: Value


def certify(graph: Graph, scaled: Scaled, X: Value) -> Certified:
    r"""Bound ``||I - A X||`` from above, with every error that float32 makes, for the X that the file returns.

    **What is computed.** ``scaled`` holds :math:`B = D_1^{-1} A D_2^{-1}` as computed; X is an inverse of B; what is
    returned is :math:`X_r = D_2^{-1} X D_1^{-1}` as computed. With :math:`R = \mathrm{fl}(I - \mathrm{fl}(B X))`,

    .. math:: \rho = s \, \bigl(\|R\|_F + g \, \|B\|_F \|X\|_F + 2^{-86} \sigma \bigr), \qquad
       g = (m + 2 k + 2)\, u\, s, \quad s = 1 + (m^2 + 16)\, u,

    where :math:`u = 2^{-24}`, k is the number of roundings on the way from A to B, which the scales' own product counts
    in, and :math:`\sigma` the largest scale or inverse of a scale (:attr:`~skdmi.export.scale.Scaled.spread`).

    **What is proved.** If the runtime computes in float32, each operation rounded to nearest, sums in any order, with
    or without fused multiplications and additions within the product, and keeps subnormal numbers or flushes them to
    zero, in each place as it pleases, then in exact arithmetic and for :math:`m \le 4096`

    .. math:: \|D_1^{-1} (I - A X_r) D_1\|_F \le \rho \quad\text{wherever}\quad \rho < 1.

    So :math:`\rho < 1` proves A, as its bits are stored, nonsingular: a vector y with :math:`y^T A = 0` would be left
    as it is by the matrix :math:`I - A X_r`, whose norm in these units is below 1. And with :math:`A' = D_1^{-1} A
    D_2^{-1}`, :math:`X' = D_2 X_r D_1`, the relative error :math:`\|X' - A'^{-1}\|_F / \|A'^{-1}\|_2` is at most
    :math:`\rho`.

    **Proof.** An operation on floats x, y gives :math:`(x \circ y)(1 + \delta) + \epsilon`, :math:`|\delta| \le u`,
    :math:`|\epsilon| \le \lambda = 2^{-126}`; an operand that is flushed is off by at most :math:`\lambda`.

    1. *Scaling.* Entry by entry :math:`B = D_1^{-1} A D_2^{-1} (1 + \delta)^k + E_B` and :math:`D_2 X_r D_1 = X (1 +
       \delta)^k + E_X`, whatever numbers the scales are, with :math:`|E_B|, |E_X| \le 4 \lambda \sigma`. A that is left
       as it is, with k = 0, stands for B in the unit that :math:`\sigma` was taken from: products of A and X are the
       same in any unit, and what is flushed, in this unit, is no more than that.
    2. *Product.* :math:`|\mathrm{fl}(B X) - B X| \le \gamma_m |B| |X| + 3 m \lambda (1 + |B| + |X|)`,
       :math:`\gamma_m = m u / (1 - m u)` [1]_.
    3. Hence :math:`\|D_1^{-1} (I - A X_r) D_1\|_F \le \|R\|_F / (1 - u) + (m + 2 k + 2)\, u\, \|B\|_F \|X\|_F`
       plus what underflow does: the last of the units in the bracket covers all terms of second order.
    4. *Norms.* The root of a sum of :math:`m^2` squares loses at most :math:`(m^2 / 2 + 2)\, u \le 0.51` of itself;
       s makes up for it, :math:`s^2` for a product of two.
    5. *Underflow.* Scales are made so that :math:`1 / (2 \sqrt m) \le \|B\|_F \le 2 m^{3/2}`; or :math:`\sigma` holds
       :math:`\|B\|_F^2` as a factor, or :math:`2^{30}` where A was left in a unit of its own. Where :math:`\rho < 1`,
       therefore, :math:`\|X\|_F \le 2^{25} / \sqrt m`, and the terms with :math:`\lambda` in 1 and 2 are less than
       :math:`5 \lambda \sigma m (\|B\|_F + \|X\|_F) \le 2^{-90} \sigma`. Squares that underflow take at most
       :math:`\mu = 2^{-63} m` from a norm. Of a residual of 1/2 or more that is nothing beside the 16 u in s; where the
       residual is smaller, :math:`\|B\|_F \|X\|_F \ge \|B X\|_F \ge 1/2`, and the
       :math:`g \mu (\|B\|_F + \|X\|_F)` that the product may lack is nothing beside them, or, in a unit of its own, at
       most :math:`2^{-56}` times the unit or its inverse.
    6. *Range.* Where :math:`2^{-86} \sigma < 1`, no entry of :math:`X_r` exceeds :math:`2^{25} \sigma < 2^{127}`.
       Whatever overflows makes a norm or :math:`\sigma` infinite or NaN: then :math:`\rho < 1` is false. So it is where
       an entry of B or X is NaN, which some row of R inherits; a largest entry may leave out a NaN, a sum does not.

    What it does *not* survive: products in TF32, bfloat16 or float16, with or without float32 sums, Strassen's, and
    divisions and roots that are not rounded to nearest.

    Parameters
    ----------
    graph : Graph
    scaled : Scaled
    X : Value
        The inverse of ``scaled.B``.

    References
    ----------
    .. [1] Higham, "Accuracy and stability of numerical algorithms", 2nd edition, SIAM, 2002, sections 2.2, 3.5, 4.2.

    Rump, "Verification methods: rigorous results using floating-point arithmetic", Acta Numerica 19, 2010, for proofs
    by residuals.
    """
    m = graph.side
    slack = m * m * UNIT + (1 + 16 * UNIT)
    weight = (m + (2 * scaled.n_factors + 2)) * slack * UNIT
    R = graph.identity - scaled.B @ X
    rounding = scaled.B.norm() * X.norm() * weight
    rho = graph.op("Sum", R.norm(), rounding, scaled.spread * 2.0**-86) * slack
    if graph.m is None:
        rho = rho + graph.op("Relu", m - float(CERTIFIED_UP_TO))
    elif graph.m > CERTIFIED_UP_TO:
        rho = rho + 1.0
    return Certified(rho, scaled.residual_norm(R))
