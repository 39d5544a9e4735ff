"""Callbacks of skorch work as its users know them, and arguments of its net say nothing twice."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from skorch.callbacks import (
    BatchScoring,
    Callback,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
)
from skorch.callbacks import Checkpoint as SkorchCheckpoint

from skdmi import EnsembleInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.metrics import frobenius_residuals, neg_mean_frobenius_residual
from skdmi.modules import IdentityLoss
from skdmi.training.users import OURS, named_callbacks
from tests.matrices import make_stack

TINY = {"depth": 1, "width": 2, "batches_per_epoch": 4, "batch_size": 16, "patience": None, "random_state": 0}
KNOWN = {"epoch", "train_loss", "valid_loss", "learning_rate", "n_matrices", "seconds"}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # nothing need be gained


class Killed(BaseException):
    """What nobody catches."""


class KillAfter(Callback):
    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) > self.n_epochs:
            raise Killed


class Note(Callback):
    """Record what it is told to, in every batch and epoch."""

    def __init__(self, name="noted", value=1.0):
        self.name = name
        self.value = value

    def on_batch_end(self, net, **kwargs):
        net.history.record_batch(f"{self.name}_batch", len(net.history))

    def on_epoch_end(self, net, **kwargs):
        net.history.record(self.name, self.value)


def mean_residual(net, X, y):
    return float(frobenius_residuals(y, net.predict(X)).mean())


def descending(net, X, y=None):
    return -float(len(net.history))


def once_better(net, X, y=None):
    """Be the lowest in the second epoch."""
    return -1.0 if len(net.history) == 2 else 0.0


def fit(*callbacks, max_epochs=3, **parameters):
    given = {"matrix_size": 3, "callbacks": list(callbacks), "max_epochs": max_epochs}
    return NeuralMatrixInverter(**TINY | given | parameters).fit()


def column(inverter, name):
    return [row.get(name) for row in inverter.history_]


class TestHistory:
    @pytest.mark.parametrize(
        ("callbacks", "names"),
        [
            ([EpochScoring(mean_residual, name="r")], {"r", "r_best"}),
            ([EpochScoring(mean_residual, name="r", lower_is_better=None)], {"r"}),
            ([EpochScoring(descending, use_caching=False)], {"descending", "descending_best"}),
            ([EpochScoring(mean_residual, name="r", on_train=True)], {"r", "r_best"}),
            ([BatchScoring(mean_residual, name="b", use_caching=False)], {"b", "b_best"}),
            ([Note(), PassthroughScoring("noted_batch")], {"noted", "noted_batch", "noted_batch_best"}),
            ([LRScheduler("StepLR", step_size=1)], {"event_lr"}),
        ],
    )
    def test_what_callbacks_record_is_in_both_histories(self, callbacks, names):
        inverter = fit(*callbacks)
        for row in inverter.history_:
            assert row.keys() == KNOWN | names
        for name in names:
            assert inverter.net_.history[:, name] == column(inverter, name)

    def test_the_history_of_the_net_is_that_of_the_inverter_as_skorch_has_it(self):
        inverter = fit(Note())
        history = inverter.net_.history
        assert history[:, "valid_loss"] == column(inverter, "valid_loss")
        assert history[:, "dur"] == column(inverter, "seconds")
        lowest = np.minimum.accumulate([np.inf, *column(inverter, "valid_loss")])
        assert history[:, "valid_loss_best"] == (np.diff(lowest) < 0).tolist()
        assert history[:, "batches"] == [[], [], []]

    @pytest.mark.parametrize("use_caching", [True, False])
    def test_a_score_sees_the_matrices_and_their_inverses(self, use_caching):
        seen = []

        def look(net, X, y=None):
            answers = [net.predict(A) for A, _ in X] if y is None else [net.predict(X)]
            A = np.concatenate([A for A, _ in X]) if y is None else y
            seen.append((A, np.concatenate(answers)))
            return 0.0

        fit(EpochScoring(look, use_caching=use_caching), max_epochs=1, batches_per_epoch=30)
        ((A, X),) = seen
        assert A.shape == X.shape == (48, 3, 3)
        assert np.median(frobenius_residuals(A, X)) < 0.1

    def test_numbers_of_numpy_and_torch_become_those_of_python(self):
        for value in (np.float32(0.5), torch.tensor(0.5), np.array(0.5)):
            assert [type(one) for one in column(fit(Note(value=value)), "noted")] == [float] * 3

    def test_it_goes_on_over_fits(self):
        inverter = fit(Note(), max_epochs=1).partial_fit()
        inverter.set_params(warm_start=True, callbacks__Note__value=2.0).fit()
        assert column(inverter, "noted") == inverter.net_.history[:, "noted"] == [1.0, 1.0, 2.0]

    def test_it_survives_pickles_clones_of_frozen_ones_and_files(self, tmp_path):
        inverter = fit(Note(value={"quantiles": [0.5, 1]}), Note("thing", value=Note))
        inverter.save_pretrained(tmp_path / "model")
        rows = inverter.history_
        assert pickle.loads(pickle.dumps(inverter)).history_ == rows
        assert clone(FrozenEstimator(inverter)).estimator.net_.history[-1, "noted"] == {"quantiles": [0.5, 1]}
        loaded = NeuralMatrixInverter.from_pretrained(tmp_path / "model")
        assert loaded.history_ == [{name: value for name, value in row.items() if name != "thing"} for row in rows]
        assert loaded.net_.history[:, "noted"] == column(inverter, "noted")

    def test_a_checkpoint_of_skorchs_that_loads_its_best_takes_no_row(self, tmp_path):
        best = SkorchCheckpoint(monitor="once_better_best", dirname=tmp_path, load_best=True)
        inverter = fit(EpochScoring(once_better), best, max_epochs=4)
        assert column(inverter, "epoch") == [1, 2, 3, 4]
        assert column(inverter, "event_cp") == [True, True, False, False]
        assert (tmp_path / "params.pt").exists()

    def test_epochs_that_a_stop_cut_short_are_kept_and_interrupted_ones_are_not(self):
        inverter = fit(EpochScoring(once_better), EarlyStopping("once_better", patience=2), max_epochs=9)
        assert column(inverter, "once_better") == [0.0, -1.0, 0.0, 0.0]


class TestCallbacks:
    @pytest.mark.parametrize(
        "callback",
        [
            pytest.param(ProgressBar(), id="ProgressBar"),
            pytest.param(ProgressBar(batches_per_epoch="count"), id="ProgressBar that counts"),
            pytest.param(PrintLog(), id="PrintLog"),
            pytest.param(EpochTimer(), id="EpochTimer"),
            pytest.param(EarlyStopping(), id="EarlyStopping"),
            pytest.param(EarlyStopping(load_best=True), id="EarlyStopping that loads the best"),
            pytest.param(GradientNormClipping(0.1), id="GradientNormClipping"),
            pytest.param(LRScheduler("StepLR", step_size=1), id="StepLR"),
            pytest.param(LRScheduler("ReduceLROnPlateau"), id="ReduceLROnPlateau"),
            pytest.param(Note, id="class"),
            pytest.param(("named", Note()), id="named"),
            pytest.param(("class", Note), id="named class"),
            pytest.param(("nothing", None), id="none"),
        ],
    )
    def test_it_works_and_is_left_as_it_was(self, callback, capsys):
        parameters = callback.get_params() if isinstance(callback, Callback) else None
        assert len(fit(callback).history_) == 3
        assert parameters is None or callback.get_params() == parameters
        assert capsys.readouterr().out == ""

    def test_a_progress_bar_counts_the_batches_of_an_epoch(self):
        totals = []

        class Look(ProgressBar):
            def on_epoch_end(self, net, **kwargs):
                totals.append((self.pbar_.n, self.pbar_.total))
                super().on_epoch_end(net, **kwargs)

        fit(Look(), max_epochs=2, batches_per_epoch=20)
        assert totals == [(22, 22)] * 2

    def test_files_are_written_where_they_are_asked_for(self, tmp_path):
        fit(TrainEndCheckpoint(dirname=tmp_path))
        assert (tmp_path / "train_end_params.pt").exists()

    @pytest.mark.parametrize(
        ("callbacks", "error", "message"),
        [
            ([EpochScoring("neg_mean_squared_error")], ValueError, "compares predictions with targets in two dim"),
            ([EpochScoring(None)], ValueError, "Expected a function: scoring=lambda net, X, y"),
            ([EpochScoring(neg_mean_frobenius_residual)], ValueError, "not given an inverter here, but the net"),
            ([BatchScoring("r2")], ValueError, "'BatchScoring' scores by 'r2'"),
            ([EpochScoring(descending, name="valid_loss")], ValueError, "records 'valid_loss', which training itself"),
            ([LoadInitState(SkorchCheckpoint())], ValueError, "go on by warm_start=True or checkpoint_dir"),
            ([SkorchCheckpoint(f_pickle="net.pkl")], ValueError, "Expected f_pickle=None: f_params has the weights"),
            ([InputShapeSetter()], ValueError, "takes its size from X or matrix_size"),
            ([3], TypeError, r"callbacks holds an int; expected callbacks of skorch, or pairs \(name, callback\)"),
            ([("a", "b", Note())], TypeError, "callbacks holds a tuple"),
            ([("score", Note()), ("score", Note())], ValueError, "Several callbacks are called 'score'"),
            ([("a__b", Note())], ValueError, "'a__b' of a callback has two underscores"),
            *(([(name, Note())], ValueError, f"The name '{name}' of a callback is that of") for name in OURS),
        ],
    )
    def test_what_cannot_work_is_refused_with_a_reason(self, callbacks, error, message):
        with pytest.raises(error, match=message):
            fit(*callbacks)

    def test_scores_over_several_sizes_go_through_the_pairs_themselves(self):
        with pytest.raises(ValueError, match=r"of several sizes\. Expected use_caching=False"):
            fit(EpochScoring(descending), matrix_size=(2, 3))

        def through_pairs(net, X, y):
            return float(np.mean([frobenius_residuals(A, net.infer(A).detach()).mean() for A, _ in X]))

        inverter = fit(EpochScoring(through_pairs, use_caching=False), BatchScoring(descending), matrix_size=(2, 3))
        assert np.isfinite(column(inverter, "through_pairs")).all()
        assert column(inverter, "descending") == [-1.0, -2.0, -3.0]


class TestParameters:
    def test_they_are_known_by_name_or_class(self):
        callbacks = [("stop", EarlyStopping(patience=2)), Note(), EpochScoring(mean_residual), Note(value=2.0)]
        given = NeuralMatrixInverter(callbacks=callbacks)
        deep = given.get_params()
        assert [name for name, _ in named_callbacks(callbacks)] == ["stop", "Note_1", "EpochScoring", "Note_2"]
        assert deep["callbacks__stop"] is callbacks[0][1]
        assert (deep["callbacks__stop__patience"], deep["callbacks__Note_2__value"]) == (2, 2.0)
        assert given.get_params(deep=False)["callbacks"] is callbacks
        assert not any("__" in name for name in given.get_params(deep=False))

    @pytest.mark.parametrize("made", [list, tuple])
    def test_they_are_set_replaced_and_dropped(self, made):
        first = made([("stop", EarlyStopping()), Note, ("score", EpochScoring(descending))])
        inverter = NeuralMatrixInverter(callbacks=first)
        inverter.set_params(callbacks__stop__patience=2, callbacks__Note__value=3.0, callbacks__score=None, depth=2)
        deep = inverter.get_params()
        assert (deep["callbacks__stop__patience"], deep["callbacks__Note__value"], inverter.depth) == (2, 3.0, 2)
        assert deep["callbacks__score"] is None
        inverter.set_params(callbacks__stop__monitor="noted", callbacks__stop=EarlyStopping(patience=7))
        deep = inverter.get_params()
        assert (deep["callbacks__stop__patience"], deep["callbacks__stop__monitor"]) == (7, "noted")
        assert type(inverter.callbacks) is made
        assert isinstance(first[2][1], EpochScoring)  # what was given stays

    @pytest.mark.parametrize("name", ["callbacks__stop", "callbacks__score__x", "callbacks__none__x"])
    def test_unknown_ones_are_refused(self, name):
        inverter = NeuralMatrixInverter(callbacks=[("score", EpochScoring(descending)), ("none", None)])
        with pytest.raises(ValueError, match=name if "x" not in name else "x"):
            inverter.set_params(**{name: 1})
        with pytest.raises(ValueError, match="there are none"):
            NeuralMatrixInverter().set_params(callbacks__stop__patience=2)

    def test_a_search_runs_over_them(self):
        grid = {"callbacks__note__value": [1.0, 5.0], "callbacks__stop": [None, EarlyStopping("noted", patience=1)]}
        network = NeuralMatrixInverter(
            **TINY, max_epochs=4, callbacks=[("note", Note()), ("stop", EarlyStopping("noted", patience=1))]
        )
        search = GridSearchCV(network, grid, cv=ShuffleSplit(1, random_state=0), scoring=n_epochs_and_note)
        found = search.set_params(refit=False).fit(make_stack("well", 40, 3)).cv_results_
        stopped = [one["callbacks__stop"] is not None for one in found["params"]]
        noted = [one["callbacks__note__value"] for one in found["params"]]
        expected = [n + (0.2 if stops else 0.4) for n, stops in zip(noted, stopped, strict=True)]
        assert found["mean_test_score"] == pytest.approx(expected)
        assert network.callbacks[0][1].value == 1.0

    def test_they_reach_through_other_inverters(self):
        network = NeuralMatrixInverter(**TINY, matrix_size=3, max_epochs=1, callbacks=[("note", Note())])
        for outer in (EnsembleInverter(network, n_estimators=2, random_state=0), RefinedInverter(network)):
            copy = clone(outer).set_params(inverter__callbacks__note__value=4.0).fit()
            inner = getattr(copy, "estimators_", None) or [copy.inverter_]
            assert [column(one, "noted") for one in inner] == [[4.0]] * len(inner)
        pipeline = make_pipeline(clone(network)).set_params(neuralmatrixinverter__callbacks__note=None)
        assert "noted" not in pipeline.fit(make_stack("well", 40, 3))[-1].history_[0]
        assert "Note" in NeuralMatrixInverter(callbacks=[("note", Note())])._repr_html_()


def n_epochs_and_note(inverter, X, y=None):
    return inverter.n_iter_ / 10 + inverter.history_[-1]["noted"]


class TestNetParams:
    @pytest.mark.parametrize(
        ("name", "value", "parameter"),
        [
            ("lr", 0.5, "learning_rate"),
            ("optimizer__lr", 0.5, "learning_rate"),
            ("optimizer", torch.optim.SGD, "optimizer"),
            ("max_epochs", 0, "max_epochs"),
            ("batch_size", 3, "batch_size"),
            ("iterator_train__batch_size", 3, "batch_size"),
            ("device", "cpu", "device"),
            ("verbose", 1, "verbose"),
            ("warm_start", True, "warm_start"),
            ("criterion__log_weight", 1.0, "log_weight"),
            ("module__depth", 3, "depth"),
            ("module__width", 3, "width"),
            ("module__block", "dense", "block"),
            ("module__matrix_size", 5, "matrix_size"),
            ("module__generator", None, "random_state"),
            ("callbacks", [], "callbacks"),
        ],
    )
    def test_what_a_parameter_says_is_refused_with_both_names(self, name, value, parameter):
        inverter = NeuralMatrixInverter(**TINY, matrix_size=3, max_epochs=1, net_params={name: value})
        with pytest.raises(ValueError, match=f"'{name}', which is the parameter {parameter} of the inverter.*place"):
            inverter.fit()
        assert not hasattr(inverter, "module_")

    @pytest.mark.parametrize(
        "name", ["module", "train_split", "callbacks__keeper", "callbacks__valid_loss", "callbacks__epoch_timer"]
    )
    def test_what_training_depends_on_is_refused(self, name):
        with pytest.raises(ValueError, match=f"net_params sets {name}, on which training depends"):
            fit(net_params={name: None})

    def test_workers_that_would_all_make_the_same_are_refused(self):
        with pytest.raises(ValueError, match="every worker would make all of them"):
            fit(net_params={"iterator_train__num_workers": 2})

    @pytest.mark.parametrize(
        "net_params",
        [
            {"optimizer__weight_decay": 0.5, "optimizer__fused": False},
            {"criterion": IdentityLoss},
            {"callbacks__print_log": None},
            {"callbacks__schedule": None},
            {"callbacks__Note__value": 1.0},
            {"module__rank": 0},
        ],
    )
    def test_all_else_is_the_nets(self, net_params):
        assert len(fit(Note(), net_params=net_params).history_) == 3


class TestCheckpoints:
    """A training that was killed between two epochs ends with the callbacks of one that was not."""

    STOP = ("stop", EarlyStopping("once_better", patience=3))
    SCORE = ("score", EpochScoring(once_better))

    def resumed(self, directory, *callbacks, killed=3, **parameters):
        with pytest.raises(Killed):
            fit(*callbacks, KillAfter(killed), max_epochs=9, checkpoint_dir=directory, **parameters)
        return fit(*callbacks, max_epochs=9, checkpoint_dir=directory, **parameters)

    @staticmethod
    def assert_same_history(first, second):
        rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in one.history_] for one in (first, second)]
        assert rows[0] == rows[1]

    def test_what_was_recorded_is_kept(self, tmp_path):
        callbacks = [Note(value={"at": [1, None, "x"]}), Note("thing", value=Note), ("score", BatchScoring(descending))]
        resumed = self.resumed(tmp_path, *callbacks)
        undisturbed = fit(*callbacks, max_epochs=9)
        assert column(resumed, "thing") == [None] * 3 + [Note] * 6  # no file holds a class
        for inverter in (resumed, undisturbed):
            for row in inverter.history_:
                row.pop("thing", None)
        self.assert_same_history(resumed, undisturbed)

    @pytest.mark.parametrize("killed", [1, 2, 3, 4])
    def test_a_stop_comes_where_it_would_have_come(self, killed, tmp_path):
        undisturbed = fit(self.SCORE, self.STOP, max_epochs=9)
        assert undisturbed.n_iter_ == 5
        resumed = self.resumed(tmp_path, self.SCORE, self.STOP, killed=killed)
        self.assert_same_history(resumed, undisturbed)
        returned = fit(self.SCORE, self.STOP, max_epochs=9, checkpoint_dir=tmp_path)
        self.assert_same_history(returned, undisturbed)

    @pytest.mark.parametrize("on_train", [False, True])
    def test_what_was_best_stays_best(self, on_train, tmp_path):
        callbacks = [Note(), PassthroughScoring("noted_batch", on_train=on_train), ("score", EpochScoring(once_better))]
        resumed = self.resumed(tmp_path, *callbacks)
        assert column(resumed, "noted_batch_best") == [True] + [False] * 8
        assert column(resumed, "once_better_best") == [True, True] + [False] * 7

    def test_other_callbacks_may_go_on(self, tmp_path):
        with pytest.raises(Killed):
            fit(self.SCORE, self.STOP, KillAfter(2), max_epochs=5, checkpoint_dir=tmp_path)
        resumed = fit(Note(), ("stop", PrintLog()), max_epochs=5, checkpoint_dir=tmp_path)
        assert column(resumed, "once_better") == [0.0, -1.0, None, None, None]
        assert column(resumed, "noted") == [None, None, 1.0, 1.0, 1.0]
