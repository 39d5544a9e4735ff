"""What would go wrong silently, or far from where it was said, in callbacks and arguments of the net."""

import pytest
from skorch.callbacks import BatchScoring, Callback, Checkpoint, EarlyStopping, EpochScoring, Freezer, LRScheduler

from skdmi import NeuralMatrixInverter

TINY = {"depth": 1, "width": 2, "matrix_size": 3, "max_epochs": 1, "batches_per_epoch": 2, "batch_size": 16}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
TAKEN = ("valid_loss", "train_loss", "learning_rate", "epoch", "dur", "batches", "seconds")


def fit(*callbacks, net_params=None):
    return NeuralMatrixInverter(**TINY, random_state=0, callbacks=list(callbacks), net_params=net_params).fit()


def zero(net, X, y):
    return 0.0


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize(
    "recording",
    [
        lambda name: LRScheduler("StepLR", step_size=1, event_name=name),
        lambda name: Checkpoint(dirname="", event_name=name),
        lambda name: EpochScoring(zero, name=name),
        lambda name: BatchScoring(zero, name=name),
    ],
    ids=["LRScheduler", "Checkpoint", "EpochScoring", "BatchScoring"],
)
def test_columns_of_the_training_are_not_overwritten(recording, name):
    with pytest.raises(ValueError, match=f"records '{name}', which training itself does; expected another name"):
        fit(recording(name))


@pytest.mark.parametrize("kind", [EpochScoring, BatchScoring, Freezer])
def test_a_class_that_needs_arguments_is_named(kind):
    message = f"'{kind.__name__}' is the class {kind.__name__}, which cannot be made like this: .*missing 1 required"
    with pytest.raises(TypeError, match=message):
        fit(kind)
    with pytest.raises(TypeError, match="'score' is the class EpochScoring"):
        NeuralMatrixInverter(callbacks=[("score", EpochScoring)]).set_params(callbacks__score__name="a")


@pytest.mark.parametrize("name", ["callbacks__stp__patience", "callbacks__shedule"])
def test_net_params_for_callbacks_that_there_are_not_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}.*no callback is called.*one of stop, schedule, clipping, print_log"):
        fit(("stop", EarlyStopping()), net_params={name: None})


def test_net_params_for_callbacks_that_are_left_out_do_nothing():
    assert len(fit(("none", None), net_params={"callbacks__none": Callback()}).history_) == 1


def test_keys_of_net_params_are_names():
    with pytest.raises(TypeError, match="net_params has the key 5; expected names"):
        fit(net_params={5: 1})


@pytest.mark.parametrize("callbacks", [5, "disable", EarlyStopping()])
def test_what_is_no_list_of_callbacks_has_no_parameters(callbacks):
    with pytest.raises(TypeError, match=r"callbacks is an? \w+; expected a list"):
        NeuralMatrixInverter(callbacks=callbacks).set_params(callbacks__stop=None)


def test_what_is_no_callback_has_no_parameters():
    with pytest.raises(ValueError, match="callbacks__x__y: the callback 'x' is an int, which has no parameters"):
        NeuralMatrixInverter(callbacks=[("x", 5)]).set_params(callbacks__x__y=1)
