"""Training: what to learn from, an endless stream of it, and the skorch loop."""

from skdmi.training.loop import OPTIMIZERS, Outcome, Settings, constant, cosine, prediction_net, train
from skdmi.training.problem import Problem, pose_problem, resolve_sizes
from skdmi.training.stream import MatrixBatches, MatrixStream, stream_seed

__all__ = [
    "OPTIMIZERS",
    "MatrixBatches",
    "MatrixStream",
    "Outcome",
    "Problem",
    "Settings",
    "constant",
    "cosine",
    "pose_problem",
    "prediction_net",
    "resolve_sizes",
    "stream_seed",
    "train",
]
