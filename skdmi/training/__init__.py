"""Training: what to learn from, an endless stream of it, and the skorch loop."""

from skdmi.training.checkpoint import Checkpoint
from skdmi.training.gain import describe_gain, measure_gain
from skdmi.training.loop import Outcome, prediction_net, train
from skdmi.training.problem import Problem, pose_problem, resolve_seed, resolve_sizes
from skdmi.training.settings import OPTIMIZERS, Settings, constant, cosine
from skdmi.training.starting import Beginning, begin
from skdmi.training.stream import MatrixBatches, MatrixStream, stream_seed

__all__ = [
    "OPTIMIZERS",
    "Beginning",
    "Checkpoint",
    "MatrixBatches",
    "MatrixStream",
    "Outcome",
    "Problem",
    "Settings",
    "begin",
    "constant",
    "cosine",
    "describe_gain",
    "measure_gain",
    "pose_problem",
    "prediction_net",
    "resolve_seed",
    "resolve_sizes",
    "stream_seed",
    "train",
]
