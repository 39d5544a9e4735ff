"""
A robot arm near its singular postures
======================================

A robot with seven joints moves its hand in six directions: its Jacobian is 6 x 7, and the pseudo-inverse of that gives
the slowest joint velocities for a velocity of the hand. Where the arm is stretched out the Jacobian loses rank, and
beside that posture the joints would have to race. Damped least squares trade some of the hand's velocity for slow
joints. Here are thousands of postures at once, and which of their pseudo-inverses are proved.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import skdmi

# %%
# The arm is a Franka Emika Panda, by the Denavit-Hartenberg parameters of its manufacturer: length, offset and twist of
# each link, each joint turning about the z axis of its frame.

LINKS = np.array(
    [
        [0, 0.333, 0],
        [0, 0, -np.pi / 2],
        [0, 0.316, np.pi / 2],
        [0.0825, 0, np.pi / 2],
        [-0.0825, 0.384, -np.pi / 2],
        [0, 0, np.pi / 2],
        [0.088, 0.107, np.pi / 2],
    ]
)


def link(theta, a, d, alpha):
    """Return the transformations of one link, for many angles."""
    c, s, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
    T = np.zeros((len(theta), 4, 4))
    T[:, 0, 0], T[:, 0, 1], T[:, 0, 3] = c, -s, a
    T[:, 1, 0], T[:, 1, 1], T[:, 1, 2], T[:, 1, 3] = s * ca, c * ca, -sa, -d * sa
    T[:, 2, 0], T[:, 2, 1], T[:, 2, 2], T[:, 2, 3] = s * sa, c * sa, ca, d * ca
    T[:, 3, 3] = 1
    return T


def jacobians(q):
    """Return what joint velocities, in rad/s, make of the flange: m/s and rad/s."""
    frame, axes, origins = np.tile(np.eye(4), (len(q), 1, 1)), [], []
    for k, (a, d, alpha) in enumerate(LINKS):
        frame = frame @ link(q[:, k], a, d, alpha)
        axes.append(frame[:, :3, 2])
        origins.append(frame[:, :3, 3])
    arms = [origins[-1] - origin for origin in origins]
    columns = [np.concatenate([np.cross(z, arm), z], axis=1) for z, arm in zip(axes, arms, strict=True)]
    return np.stack(columns, axis=2)


# %%
# Ten thousand random postures are all of full rank, and proved to be.

postures = np.random.default_rng(0).uniform(-2.5, 2.5, (10_000, 7))
report = skdmi.PseudoInverter(matrix_shape=(6, 7)).report(jacobians(postures))
print(report.summary())

# %%
# Now the elbow and the wrist are stretched, by and by, until they are straight. The pseudo-inverse grows without limit,
# and is still proved, with its bound, when it is of no use any more; the straight arm itself is named.

bends = np.append(np.geomspace(1, 1e-8, 400), 0.0)
stretching = np.tile(postures[0], (len(bends), 1))
stretching[:, [1, 3, 5]] = bends[:, None]
J = jacobians(stretching)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    X = skdmi.pinv(J)
print(caught[0].message)
stretched = skdmi.PseudoInverter(matrix_shape=(6, 7)).report(J)

# %%
# Damped, nothing needs a rank: no singular value of the damped pseudo-inverse exceeds one over twice the damping.

DAMPING = 0.05
damped = skdmi.PseudoInverter(matrix_shape=(6, 7), damping=DAMPING).report(J)
print("damped:", damped.summary())

hand = np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])  # A tenth of a metre a second.
speed = {name: np.linalg.norm(P @ hand, axis=1) for name, P in (("plain", X), ("damped", damped.pseudo_inverse))}
missed = np.linalg.norm(J @ damped.pseudo_inverse @ hand - hand, axis=1) / np.linalg.norm(hand)
print(f"fastest joints: plain {speed['plain'][:-1].max():.1e} rad/s, damped {speed['damped'].max():.2f} rad/s")

plt.style.use("skdmi.inspection.paper")
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4))
left.loglog(bends[:-1], speed["plain"][:-1], label="pseudo-inverse")
left.loglog(bends[:-1], speed["damped"][:-1], label=f"damping {DAMPING}")
left.set(xlabel="Bend of elbow and wrist (rad)", ylabel="Joint velocity (rad/s)")
left.invert_xaxis()
left.legend(loc="upper left")
proved = stretched.certified[:-1]
right.loglog(bends[:-1][proved], stretched.error_bound[:-1][proved], label="proved bound on the error")
right.loglog(bends[:-1], missed[:-1], label="velocity that damping gives up")
right.set(xlabel="Bend of elbow and wrist (rad)", ylabel="Relative", ylim=(1e-15, 1e5))
right.invert_xaxis()
right.legend(loc="upper left")
plt.show()
