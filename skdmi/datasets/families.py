"""The families of the audit set: what each is, and why it breaks inverses."""

FAMILIES = {
    "permutation": "Permutations, half of them with signs: every inverse is exact, and pivots must be sought.",
    "leading-zeros": "Leading entries, blocks and minors that vanish, or a diagonal of zeros, of well-posed matrices.",
    "graded-rows": "Uniform entries, each row in a unit of its own, over 10^-15 ... 10^15.",
    "graded-columns": "Uniform entries, each column in a unit of its own, over 10^-15 ... 10^15.",
    "graded-both": "Uniform entries, rows and columns in units of their own, each over 10^-10 ... 10^10.",
    "spread": "Each entry in a unit of its own, over 10^-30 ... 10^30, so that no scaling helps.",
    "hilbert": "1 / (i + j - 1 + p), p = 0, 1, 2, times the least common multiple of the denominators: integers.",
    "pascal": "Binomial coefficients as a symmetric matrix, its rows reversed, and with signs; integer inverses.",
    "kahan": "Kahan's triangular matrices: ill-conditioned, and no pivot shows it.",
    "growth": "Wilkinson's matrices, perturbed: well-conditioned, and partial pivoting doubles the pivots row by row.",
    "delta-rule": "Chunks I + tril(diag(beta) K K^T, -1) of the delta rule: keys that drift, repeat, flip their signs.",
    "integers": "Integers whose determinant is 1 or -1: nearly singular, integer inverses.",
    "singular": "Members that are singular in their very bits, and among them some that are not.",
    "subnormal": "Entries at the lower end of the range; some inverses lie beyond its upper end.",
    "huge": "Entries at the upper end of the range, whose sums overflow; some inverses lie partly below its lower end.",
    "uniform": "Entries uniform on [-1, 1]: what anything inverts.",
    "wishart": "G G^T of integers: covariances.",
}
"""A sentence for each, in the order in which tables name them."""
