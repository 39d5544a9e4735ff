"""Training: what to learn from, an endless stream of it, and the skorch loop."""

from skdmi.training.loop import OPTIMIZERS, Outcome, constant, cosine, prediction_net, train
from skdmi.training.problem import Problem, pose_problem
from skdmi.training.stream import MatrixBatches, MatrixStream, stream_seed

__all__ = [
    "OPTIMIZERS",
    "MatrixBatches",
    "MatrixStream",
    "Outcome",
    "Problem",
    "constant",
    "cosine",
    "pose_problem",
    "prediction_net",
    "stream_seed",
    "train",
]
