"""Models as tests want them."""

from skdmi import NeuralMatrixInverter


def untrained(matrix_size, depth=3):
    """A fitted network of use at once, the untrained iteration; of a tuple of sizes one that takes any."""
    return NeuralMatrixInverter(
        depth, matrix_size=matrix_size, max_epochs=0, batches_per_epoch=1, batch_size=64, random_state=0
    ).fit()
