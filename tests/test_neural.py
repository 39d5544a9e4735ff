"""NeuralMatrixInverter: fitting, going on, and coming back from files."""

import copy
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import warnings

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback

from skdmi import NeuralMatrixInverter, RefinedInverter, load_pretrained
from skdmi.distributions import Members, Mixture, Normal, Uniform, Wishart
from skdmi.estimators.devices import resolve_device
from skdmi.exceptions import DeviceFallbackWarning
from skdmi.iteration import STARTS, minimal_residual
from skdmi.metrics import frobenius_residuals
from skdmi.modules import IdentityLoss, InverterResNet
from skdmi.persistence import pretrained_names
from tests.marks import slow_but
from tests.matrices import make_stack
from tests.models import change, write_as_0_1_0
from tests.processes import heeding_ctrl_c

TINY = {"depth": 2, "width": 4, "max_epochs": 2, "batches_per_epoch": 3, "batch_size": 32, "random_state": 0}
TINY["learning_rate"] = 1e-2  # Which lowers the loss of 3 x 3 matrices in the first epoch.


def make_tiny(**parameters):
    return NeuralMatrixInverter(**(TINY | parameters))


def weights(inverter):
    return [value.numpy() for value in inverter.module_.state_dict().values()]


def assert_same_weights(first, second):
    for a, b in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(a, b)


class TestFit:
    def test_without_X_needs_a_size(self):
        with pytest.raises(ValueError, match="matrix_size=3, or give fit an X"):
            make_tiny().fit()

    def test_without_X_draws_uniform_matrices(self):
        inverter = make_tiny(matrix_size=3).fit()
        assert inverter.distribution_ == Uniform()
        assert (inverter.matrix_size_, inverter.n_features_in_) == (3, 9)
        assert inverter.n_matrices_seen_ == 2 * 3 * 32
        assert inverter.n_iter_ == len(inverter.history_) == 2
        keys = {"epoch", "train_loss", "valid_loss", "learning_rate", "n_matrices", "seconds"}
        assert all(row.keys() == keys for row in inverter.history_)

    @pytest.mark.parametrize("flat", [False, True])
    def test_with_X_draws_members_and_pairs(self, flat):
        X = make_stack("well", 20, 3)
        inverter = make_tiny(max_epochs=0).fit(X.reshape(20, 9) if flat else X)
        assert inverter.distribution_ == Members()
        assert (inverter.matrix_size_, inverter.n_features_in_) == (3, 9)

    def test_no_data_stays_in_the_estimator(self):
        X = make_stack("well", 500, 3)
        assert len(pickle.dumps(make_tiny().partial_fit(X))) < X.nbytes / 2

    @pytest.mark.parametrize("distribution", [Uniform(), Normal(), Mixture((Uniform(), Wishart()))])
    def test_with_X_and_a_distribution_X_only_checks(self, distribution):
        X = make_stack("well", 20, 3)
        inverter = make_tiny(distribution=distribution).partial_fit(X)
        again = make_tiny(distribution=inverter.distribution_, matrix_size=3).partial_fit()
        assert inverter.history_[0]["train_loss"] == again.history_[0]["train_loss"]

    def test_a_callable_is_a_distribution(self):
        def identities(n_matrices, matrix_size, *, generator, device, dtype):
            return torch.eye(matrix_size, device=device, dtype=dtype).repeat(n_matrices, 1, 1)

        inverter = make_tiny(matrix_size=3, distribution=identities).partial_fit()
        assert inverter.distribution_ is identities
        assert inverter.history_[-1]["train_loss"] < 1e-3

    def test_equal_seeds_give_equal_weights(self):
        assert_same_weights(make_tiny(matrix_size=3).fit(), make_tiny(matrix_size=3).fit())
        X = make_stack("well", 20, 3)
        assert_same_weights(make_tiny().partial_fit(X), make_tiny().partial_fit(X))

    def test_a_random_state_instance_gives_another_seed_each_time(self):
        state = np.random.RandomState(0)
        inverter = make_tiny(matrix_size=3, max_epochs=0, random_state=state)
        first = weights(inverter.fit())
        second = weights(inverter.fit())
        assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))

    def test_fit_starts_afresh(self):
        inverter = make_tiny(matrix_size=3).fit()
        assert_same_weights(copy.deepcopy(inverter).fit(), inverter)

    def test_several_sizes_give_a_network_without_a_size(self):
        inverter = make_tiny(matrix_size=(2, 4), max_epochs=0).fit()
        assert not hasattr(inverter, "matrix_size_")
        for m in (2, 3, 4, 7):
            assert inverter.transform(make_stack("well", 5, m)).shape == (5, m, m)

    def test_a_size_seen_earlier_is_forgotten(self):
        inverter = make_tiny(max_epochs=0).fit(make_stack("well", 5, 3))
        with pytest.raises(ValueError, match="matrix_size=3, or give fit an X"):
            inverter.fit()

    def test_a_tuple_of_one_size_fixes_it_where_the_network_does(self):
        assert make_tiny(block="dense", matrix_size=(3,)).fit().matrix_size_ == 3
        assert not hasattr(make_tiny(matrix_size=(3,)).fit(), "matrix_size_")

    def test_a_named_size_takes_any_column_names(self, tiny_network):
        pandas = pytest.importorskip("pandas")
        A = make_stack("well", 5, 3).reshape(5, 9)
        np.testing.assert_array_equal(tiny_network.transform(pandas.DataFrame(A)), tiny_network.transform(A))
        named = pandas.DataFrame(A, columns=list("abcdefghi"))
        np.testing.assert_array_equal(tiny_network.transform(named), tiny_network.transform(A))

    def test_X_and_matrix_size_must_agree(self):
        with pytest.raises(ValueError, match=r"X holds 4 x 4 matrices, but matrix_size=3"):
            make_tiny(matrix_size=3).fit(make_stack("well", 5, 4))

    def test_only_polynomial_takes_several_sizes(self):
        with pytest.raises(ValueError, match="only 'polynomial' takes several"):
            make_tiny(matrix_size=(2, 3), block="dense").fit()

    @pytest.mark.parametrize("block", ["feedback", "dense"])
    def test_entrywise_blocks_are_tied_to_one_size(self, block):
        inverter = make_tiny(block=block, matrix_size=2).fit()
        assert inverter.transform(make_stack("well", 5, 2)).shape == (5, 2, 2)
        with pytest.raises(ValueError, match="takes 2 x 2 matrices, got 3 x 3"):
            inverter.invert(torch.eye(3))

    def test_outside_the_trained_sizes_it_is_the_untrained_iteration(self):
        inverter = make_tiny(matrix_size=3, learning_rate=0.1).fit()
        A = torch.from_numpy(make_stack("uniform", 50, 5)).float()
        X, untrained = inverter.invert(A).detach(), minimal_residual(A, 2, rank=2)
        np.testing.assert_allclose(
            frobenius_residuals(A, X).numpy(), frobenius_residuals(A, untrained).numpy(), rtol=2e-2, atol=1e-4
        )

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ({"depth": 0}, ["depth", "0", "range [1"]),
            ({"width": 2.5}, ["width", "2.5"]),
            ({"block": "transformer"}, ["block", "transformer", "polynomial", "feedback", "dense"]),
            ({"start": "inverse"}, ["start", "inverse", "transpose", "identity"]),
            ({"net_params": {"module__normalize": "max"}}, ["normalize", "max", "frobenius", "none"]),
            ({"optimizer": "lbfgs"}, ["optimizer", "lbfgs", "adamw"]),
            ({"net_params": {"module__precision": "half"}}, ["precision", "half", "float32", "float64"]),
            ({"distribution": "uniform"}, ["distribution", "uniform", "auto"]),
            ({"distribution": None}, ["distribution", "None"]),
            ({"distribution": Uniform}, ["distribution", "Uniform", "instance"]),
            ({"learning_rate": 0}, ["learning_rate", "0"]),
            ({"patience": 0}, ["patience", "0"]),
            ({"matrix_size": 0}, ["matrix_size", "0"]),
            ({"matrix_size": (2, "3")}, ["matrix_size", "'3'"]),
            ({"device": "abacus"}, ["device", "abacus", "auto"]),
            ({"random_state": "seed"}, ["random_state", "seed"]),
        ],
    )
    def test_a_bad_parameter_is_named_with_its_value_and_what_is_allowed(self, parameters, words):
        inverter = NeuralMatrixInverter(**(TINY | {"matrix_size": 3} | parameters))
        before = set(vars(inverter))
        with pytest.raises(ValueError, match=re.escape(words[0])) as error:
            inverter.fit()
        assert all(word in str(error.value) for word in words)
        assert set(vars(inverter)) == before

    def test_a_failed_fit_changes_nothing(self, tiny_network):
        inverter = copy.deepcopy(tiny_network)
        before = {name: id(value) for name, value in vars(inverter).items()}
        with pytest.raises(ValueError, match="square"):
            inverter.fit(make_stack("well", 5, 4)[:, :3])
        inverter.distribution, changed = Broken(), inverter.distribution
        with pytest.raises(RuntimeError, match="broken"):
            inverter.fit()
        inverter.distribution = changed
        assert before == {name: id(value) for name, value in vars(inverter).items()}

    def test_float64_precision_reaches_float64_residuals(self):
        A = make_stack("well", 50, 3)
        single, double = (
            make_tiny(depth=3, matrix_size=3, max_epochs=0, net_params={"module__precision": precision})
            .fit()
            .residual_norms(A)
            for precision in ("float32", "float64")
        )
        assert double.max() < 1e-9 < 1e-8 < single.max()

    @pytest.mark.parametrize("start", STARTS)
    def test_any_start_is_trained_and_serves_any_size(self, start):
        inverter = make_tiny(start=start, matrix_size=(2, 4), distribution=Wishart()).partial_fit()
        assert inverter.module_.core.start is STARTS[start]
        for m in (1, 2, 3, 6):
            A = make_stack("spd", 5, m)
            assert inverter.residual_norms(A).max() < 0.2

    @pytest.mark.filterwarnings("ignore:Training gained nothing:sklearn.exceptions.ConvergenceWarning")
    def test_net_params_have_the_last_word(self):
        overruled = make_tiny(matrix_size=3, net_params={"module__precision": "float64"}).fit()
        assert overruled.module_.dtype == torch.float64

    def test_the_net_holds_neither_data_optimizer_nor_callbacks(self, tiny_network):
        net = tiny_network.net_
        assert net.module_ is tiny_network.module_
        assert net.optimizer_ is None
        assert not net.callbacks_
        assert net.train_split is None

    @pytest.mark.slow
    # torch's own tracing reads .grad of tensors that have none.
    @pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
    def test_compile_gives_the_same_kind_of_model(self):
        inverter = make_tiny(matrix_size=3, net_params={"compile": True, "compile__backend": "eager"}).fit()
        plain = make_tiny(matrix_size=3).fit()
        # Derivatives are taken in another order, and rounding decides the sign of the smallest of them.
        assert [row["epoch"] for row in inverter.history_] == [row["epoch"] for row in plain.history_]
        assert plain.best_loss_ / 2 < inverter.best_loss_ < 2 * plain.best_loss_
        assert [a.shape for a in weights(inverter)] == [a.shape for a in weights(plain)]

    def test_verbose_prints_an_epoch_a_line(self, capsys):
        make_tiny(matrix_size=3, verbose=1).fit()
        assert "valid_loss" in capsys.readouterr().out
        make_tiny(matrix_size=3).fit()
        assert capsys.readouterr().out == ""


class TestGoingOn:
    def test_partial_fit_is_one_epoch_more(self, tiny_network):
        inverter, n_before = copy.deepcopy(tiny_network).partial_fit(), tiny_network.n_iter_
        assert inverter.n_iter_ == n_before + 1
        assert [row["epoch"] for row in inverter.history_] == list(range(1, n_before + 2))
        assert inverter.n_matrices_seen_ == tiny_network.n_matrices_seen_ * (n_before + 1) // n_before

    def test_partial_fit_fits_first(self):
        assert make_tiny(matrix_size=3).partial_fit().n_iter_ == 1

    def test_an_unpickled_copy_continues_exactly(self, tiny_network):
        original = copy.deepcopy(tiny_network)
        unpickled = pickle.loads(pickle.dumps(original))
        assert_same_weights(original.partial_fit(), unpickled.partial_fit())

    def test_partial_fit_needs_X_again_where_it_makes_the_matrices(self):
        X = make_stack("well", 20, 3)
        inverter = make_tiny().partial_fit(X)
        with pytest.raises(ValueError, match=r"call fit\(X\)"):
            inverter.partial_fit()
        assert inverter.partial_fit(X).n_iter_ == 2

    def test_auto_means_X_wherever_there_is_one(self, tiny_network):
        tuned = copy.deepcopy(tiny_network).partial_fit(make_stack("well", 20, 3))
        assert tuned.distribution_ == Members()
        assert copy.deepcopy(tiny_network).partial_fit().distribution_ == Uniform()

    def test_partial_fit_keeps_to_the_size(self, tiny_network):
        with pytest.raises(ValueError, match="fitted for 3 x 3"):
            copy.deepcopy(tiny_network).partial_fit(make_stack("well", 5, 4))

    def test_warm_start_goes_on_from_the_weights(self):
        inverter = make_tiny(matrix_size=3, warm_start=True).fit()
        before = weights(inverter)
        with pytest.warns(ConvergenceWarning, match="the weights that it went on from are kept"):
            inverter.set_params(learning_rate=1e-12).fit()
        assert inverter.n_iter_ == 4
        assert 1 <= inverter.best_epoch_ <= 2
        assert inverter.n_matrices_seen_ == 4 * 3 * 32
        for a, b in zip(before, weights(inverter), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)

    def test_warm_start_refuses_another_architecture(self):
        inverter = make_tiny(matrix_size=3, warm_start=True).fit().set_params(width=6)
        with pytest.raises(ValueError, match=r"architecture has changed \(width\)"):
            inverter.fit()

    def test_warm_start_refuses_another_start(self):
        inverter = make_tiny(matrix_size=3, warm_start=True).fit().set_params(start="identity")
        with pytest.raises(ValueError, match=r"architecture has changed \(start\)"):
            inverter.fit()

    @pytest.mark.filterwarnings("ignore:Training gained nothing")
    def test_warm_start_widens_the_sizes_of_a_polynomial_network(self):
        inverter = make_tiny(matrix_size=3, warm_start=True).fit().set_params(matrix_size=5).fit()
        core = inverter.module_.core
        assert (core.smallest, core.largest) == (3, 5)


class TestWhatTrainingGained:
    """best_epoch_ says which weights are kept, and a fit that gained nothing says so."""

    nothing_to_learn = {"matrix_size": 1, "max_epochs": 3}  # The first weights invert 1 x 1 matrices exactly.

    def test_a_fit_that_gains_is_silent_and_says_when_it_did(self):
        inverter = make_tiny(matrix_size=3).fit()
        losses = [inverter.first_loss_, *(row["valid_loss"] for row in inverter.history_)]
        assert inverter.best_epoch_ == np.argmin(losses) > 0
        assert inverter.best_loss_ == losses[inverter.best_epoch_]

    def test_a_fit_that_gains_nothing_warns_once_at_the_users_line(self):
        with pytest.warns(ConvergenceWarning, match="is the untrained iteration") as caught:
            inverter = make_tiny(**self.nothing_to_learn).fit()
        assert [warning.filename for warning in caught] == [__file__]
        assert all(word in str(caught[0].message) for word in ("beyond chance", "max_epochs=0", "depth=2", "fit(X)"))
        assert inverter.best_epoch_ == 0
        assert inverter.best_loss_ == inverter.first_loss_
        assert inverter.n_iter_ == 3
        assert_same_weights(inverter, make_tiny(**self.nothing_to_learn | {"max_epochs": 0}).fit())

    def test_the_line_is_the_users_through_wrappers_too(self):
        with pytest.warns(ConvergenceWarning) as caught:
            RefinedInverter(make_tiny(**self.nothing_to_learn)).fit()
        assert [warning.filename for warning in caught] == [__file__]

    def test_partial_fit_keeps_the_last_weights_and_is_silent(self):
        inverter = make_tiny(**self.nothing_to_learn).partial_fit()
        assert inverter.best_epoch_ == 1
        first_loss = inverter.first_loss_
        assert inverter.partial_fit().best_epoch_ == 2
        assert inverter.first_loss_ == first_loss
        assert inverter.best_loss_ == inverter.history_[-1]["valid_loss"]

    def test_without_epochs_there_is_no_training_and_no_warning(self):
        inverter = make_tiny(matrix_size=3, max_epochs=0, callbacks=[Stop()]).fit()
        assert (inverter.history_, inverter.n_iter_, inverter.best_epoch_, inverter.n_matrices_seen_) == ([], 0, 0, 0)
        assert inverter.best_loss_ == inverter.first_loss_ > 0
        assert inverter.distribution_ == Uniform()
        assert inverter.domain_["n_matrices"] == 4096
        A = torch.from_numpy(make_stack("uniform", 20, 3)).float()
        torch.testing.assert_close(inverter.invert(A), minimal_residual(A, 2, rank=2), rtol=1e-3, atol=1e-3)

    def test_training_goes_on_from_no_epochs(self, tmp_path):
        inverter = make_tiny(matrix_size=3, max_epochs=0, warm_start=True).fit()
        inverter.save_pretrained(tmp_path / "model")
        for copied in (pickle.loads(pickle.dumps(inverter)), NeuralMatrixInverter.from_pretrained(tmp_path / "model")):
            assert (copied.best_epoch_, copied.first_loss_) == (0, inverter.first_loss_)
            trained = copied.set_params(max_epochs=2).fit()
            assert_same_weights(trained, make_tiny(matrix_size=3).fit())
            assert trained.best_epoch_ > 0

    def test_a_warm_start_from_first_weights_that_gains_nothing_is_untrained(self):
        inverter = make_tiny(**self.nothing_to_learn | {"max_epochs": 0, "warm_start": True}).fit()
        with pytest.warns(ConvergenceWarning, match="is the untrained iteration"):
            inverter.set_params(max_epochs=1).fit()
        assert inverter.best_epoch_ == 0

    def test_epochs_are_counted_over_all_fits(self):
        inverter = make_tiny(matrix_size=3).partial_fit().partial_fit()
        first_loss = inverter.first_loss_
        inverter.set_params(warm_start=True, max_epochs=3).fit(make_stack("condition", 100, 3, condition=1e3))
        assert inverter.best_epoch_ > 2
        assert inverter.best_loss_ == inverter.history_[inverter.best_epoch_ - 1]["valid_loss"]
        assert inverter.first_loss_ == first_loss


class Stop(Callback):
    """A person presses Ctrl-C during the second epoch."""

    def initialize(self):
        self.n_batches = 0
        return self

    def on_batch_end(self, net, training, **kwargs):
        self.n_batches += training
        if self.n_batches == 4:
            raise KeyboardInterrupt


class Broken:
    def __call__(self, *args, **kwargs):
        raise RuntimeError("broken")


class Poisoned:
    """NaN from the second chunk on."""

    def __init__(self):
        self.n_calls = 0

    def __call__(self, n_matrices, matrix_size, **where):
        self.n_calls += 1
        A = Uniform()(n_matrices, matrix_size, **where)
        return A * torch.nan if self.n_calls == 3 else A


class TestInterruption:
    def test_ctrl_c_is_raised_again_and_leaves_a_fitted_model(self):
        inverter = make_tiny(matrix_size=3, max_epochs=50, callbacks=[Stop()])
        with pytest.raises(KeyboardInterrupt):
            inverter.fit()
        assert inverter.n_iter_ == 1
        assert np.isfinite(inverter.transform(make_stack("well", 5, 3))).all()

    @pytest.mark.slow
    def test_a_real_signal(self, tmp_path):
        script = textwrap.dedent("""
            from skdmi import NeuralMatrixInverter
            inverter = NeuralMatrixInverter(depth=2, width=4, matrix_size=3, max_epochs=2000, batches_per_epoch=2,
                                            batch_size=16, verbose=1, random_state=0)
            try:
                inverter.fit()
            except KeyboardInterrupt:
                print("interrupted", inverter.n_iter_ > 0, inverter.matrix_size_)
        """)
        command = [sys.executable, "-u", "-c", script]
        with heeding_ctrl_c(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            for line in process.stdout:
                if re.match(r"\s+3 ", line):
                    process.send_signal(signal.SIGINT)
                    break
            assert "interrupted True 3" in process.stdout.read()
            process.wait()
        assert process.returncode == 0

    def test_a_nan_loss_warns_and_leaves_finite_weights(self):
        inverter = make_tiny(matrix_size=3, max_epochs=5, distribution=Poisoned())
        with pytest.warns(ConvergenceWarning, match="stopped being finite"):
            inverter.fit()
        assert all(np.isfinite(value).all() for value in weights(inverter))

    def test_weights_that_were_never_finite_are_an_error(self):
        def nothing_but_nan(n_matrices, matrix_size, *, device, dtype, **kwargs):
            return torch.full((n_matrices, matrix_size, matrix_size), torch.nan, device=device, dtype=dtype)

        inverter = make_tiny(matrix_size=3, distribution=nothing_but_nan)
        with pytest.raises(ValueError, match="not finite"):
            inverter.fit()
        assert not hasattr(inverter, "module_")


class TestDevices:
    def test_a_device_that_is_not_there_is_an_error_in_fit(self):
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        with pytest.raises(ValueError, match="device='cuda', but this machine has none"):
            make_tiny(matrix_size=3, device="cuda").fit()

    def test_a_loaded_model_falls_back_to_the_cpu_and_says_so_once(self, tiny_network):
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        loaded = pickle.loads(pickle.dumps(copy.deepcopy(tiny_network).set_params(device="cuda")))
        A = make_stack("well", 5, 3)
        with pytest.warns(DeviceFallbackWarning, match="device='cuda'"):
            X = loaded.transform(A)
        np.testing.assert_array_equal(X, tiny_network.transform(A))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded.transform(A)

    def test_auto_never_means_mps(self):
        assert resolve_device("auto", loaded=False).type in ("cpu", "cuda")

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    def test_cuda_trains_and_loads_on_the_cpu(self):
        inverter = make_tiny(matrix_size=3, device="cuda").fit()
        A = make_stack("well", 5, 3)
        on_cpu = pickle.loads(pickle.dumps(inverter)).set_params(device="cpu")
        np.testing.assert_allclose(on_cpu.transform(A), inverter.transform(A), atol=1e-4)
        assert inverter.transform(torch.from_numpy(A).cuda()).device.type == "cuda"


class TestFiles:
    def test_a_pickle_holds_weights_and_kilobytes(self, tiny_network):
        n_bytes = sum(value.nbytes for value in weights(tiny_network))
        assert len(pickle.dumps(tiny_network)) < n_bytes + 8_000

    def test_a_pickle_holds_no_torch_object(self, tiny_network):
        """By construction it loads where it was not trained: there is no storage, and no device, in it."""
        opcodes = pickle.dumps(tiny_network, protocol=2)
        assert b"torch" not in opcodes.replace(b"skdmi", b"")

    @pytest.mark.slow
    def test_it_predicts_in_another_process_without_the_training_data(self, tiny_network, tmp_path):
        A = make_stack("well", 5, 3)
        joblib.dump(tiny_network, tmp_path / "model.joblib")
        np.save(tmp_path / "A.npy", A)
        script = textwrap.dedent("""
            import sys, joblib, numpy
            model, A, X = sys.argv[1:]
            numpy.save(X, joblib.load(model).transform(numpy.load(A)))
        """)
        paths = [str(tmp_path / name) for name in ("model.joblib", "A.npy", "X.npy")]
        subprocess.run([sys.executable, "-W", "error", "-c", script, *paths], check=True)
        np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), tiny_network.transform(A))

    def test_a_directory_comes_back_as_it_was_saved(self, tiny_network, tmp_path):
        tiny_network.save_pretrained(tmp_path / "model")
        loaded = NeuralMatrixInverter.from_pretrained(tmp_path / "model")
        assert_same_weights(loaded, tiny_network)
        assert loaded.get_params() == tiny_network.get_params()
        for name in ("n_iter_", "n_matrices_seen_", "history_", "domain_", "distribution_", "matrix_size_"):
            assert getattr(loaded, name) == getattr(tiny_network, name)
        assert_same_weights(loaded.partial_fit(), copy.deepcopy(tiny_network).partial_fit())

    @pytest.mark.parametrize("start", STARTS)
    def test_the_start_is_stored(self, start, tmp_path):
        inverter = make_tiny(matrix_size=3, start=start, max_epochs=0).fit()
        inverter.save_pretrained(tmp_path / "model")
        loaded = NeuralMatrixInverter.from_pretrained(tmp_path / "model")
        assert loaded.start == start
        assert loaded.module_.core.start is STARTS[start]
        A = make_stack("uniform", 5, 3)
        for copied in (loaded, pickle.loads(pickle.dumps(inverter))):
            np.testing.assert_array_equal(copied.transform(A), inverter.transform(A))

    def test_numpy_scalars_among_the_parameters_are_stored(self, tmp_path):
        make_tiny(
            depth=np.int64(2),
            matrix_size=(np.int32(2), 3),
            max_epochs=np.int64(0),
            random_state=np.int64(0),
            warm_start=np.bool_(False),
        ).fit().save_pretrained(tmp_path / "model")
        loaded = NeuralMatrixInverter.from_pretrained(tmp_path / "model")
        assert (loaded.depth, loaded.matrix_size, loaded.random_state, loaded.warm_start) == (2, (2, 3), 0, False)

    def test_a_memory_mapped_pickle_loads_without_a_warning(self, tiny_network, tmp_path):
        joblib.dump(tiny_network, tmp_path / "model.joblib")
        loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
        assert_same_weights(loaded, tiny_network)

    def test_device_callbacks_and_random_states_are_not_stored(self, tmp_path):
        make_tiny(
            matrix_size=3, device="cpu", callbacks=[Callback()], random_state=np.random.RandomState(0)
        ).fit().save_pretrained(tmp_path / "model")
        loaded = NeuralMatrixInverter.from_pretrained(tmp_path / "model")
        assert (loaded.device, loaded.callbacks, loaded.random_state) == ("auto", None, None)

    def test_a_model_of_a_function_predicts_but_does_not_train(self, tmp_path):
        make_tiny(matrix_size=3, distribution=lambda *args, **where: Uniform()(*args, **where)).fit().save_pretrained(
            tmp_path / "model"
        )
        loaded = NeuralMatrixInverter.from_pretrained(tmp_path / "model")
        assert loaded.transform(make_stack("well", 5, 3)).shape == (5, 3, 3)
        with pytest.raises(ValueError, match="'distribution' parameter"):
            loaded.partial_fit()

    def test_several_sizes_and_column_names_are_stored(self, tmp_path):
        pandas = pytest.importorskip("pandas")
        names = [f"a{i}{j}" for i in range(2) for j in range(2)]
        inverter = make_tiny(matrix_size=(2, 3), max_epochs=0).fit(
            pandas.DataFrame(make_stack("well", 9, 2).reshape(9, 4), columns=names)
        )
        inverter.save_pretrained(tmp_path / "model")
        loaded = NeuralMatrixInverter.from_pretrained(tmp_path / "model")
        assert loaded.matrix_size == (2, 3)
        assert list(loaded.get_feature_names_out()) == names

    def test_what_does_not_fit_is_a_value_error(self, tiny_network, tmp_path):
        for damage in (
            {"class": "Other"},
            {"parameters": None},
            {"fitted": {"_architecture": {"depth": 5}}},
        ):
            tiny_network.save_pretrained(tmp_path / "model")
            change(tmp_path / "model", lambda card, damage=damage: card | damage)
            with pytest.raises(ValueError, match=r"model\.safetensors"):
                NeuralMatrixInverter.from_pretrained(tmp_path / "model")

    def test_a_card_of_0_1_0_loads_with_the_parameters_of_today(self, tiny_network, tmp_path):
        card, weights = tiny_network._stored()
        old = {"expansion": 2, "normalize": "none", "early_stopping": False, "patience": 10}
        old |= {"validation_fraction": 0.1, "precision": "float32", "compile": False}
        for name in ("best_epoch_", "first_loss_"):
            del card["fitted"][name]
        write_as_0_1_0(tmp_path / "model", card | {"parameters": card["parameters"] | old}, weights)
        loaded = NeuralMatrixInverter.from_pretrained(tmp_path / "model")
        today = {"net_params": {"module__normalize": "none"}, "patience": None}
        assert loaded.get_params() == tiny_network.get_params() | today
        assert loaded.best_epoch_ is loaded.first_loss_ is None

    @pytest.mark.parametrize("gone", [{"block": "gated"}, {"start": "characteristic"}, {"n_squarings": 3}], ids=str)
    def test_a_network_that_only_0_1_0_has_is_refused_with_advice(self, gone, tiny_network, tmp_path):
        card, weights = tiny_network._stored()
        card["fitted"]["_architecture"] |= gone
        write_as_0_1_0(tmp_path / "model", card, weights)
        with pytest.raises(ValueError, match=rf"model.*{next(iter(gone))}.*only skdmi 0\.1\.0 has"):
            NeuralMatrixInverter.from_pretrained(tmp_path / "model")

    def test_saving_needs_a_fitted_model(self, tmp_path):
        with pytest.raises(NotFittedError):
            make_tiny().save_pretrained(tmp_path / "model")
        assert list(tmp_path.iterdir()) == []

    def test_loading_leaves_the_global_random_state_alone(self, tiny_network):
        dumped = pickle.dumps(tiny_network)
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        pickle.loads(dumped)
        assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", slow_but(["uniform-3x3-short"], pretrained_names()))
class TestShipped:
    def test_it_is_frozen(self, name):
        frozen = load_pretrained(name)
        assert clone(frozen) is not None
        before = weights(frozen.estimator)
        m = frozen.estimator.module_.matrix_size or max(trained_sizes(frozen.estimator))
        clone(frozen).fit(make_stack("well", 5, m), None)
        assert all(np.array_equal(a, b) for a, b in zip(before, weights(frozen.estimator), strict=True))

    def test_it_is_no_worse_than_untrained_on_its_own_distribution(self, name):
        inverter = NeuralMatrixInverter.from_pretrained(name)
        with torch.random.fork_rng():
            untrained = InverterResNet(**inverter._architecture)
        loss = IdentityLoss(inverter.log_weight)
        for m in trained_sizes(inverter):
            A = inverter.distribution_.sample(max(200, 40_000 // m**2), m, random_state=12345).astype(np.float32)
            A = torch.from_numpy(A)
            with torch.no_grad():
                assert loss(inverter.module_(A), A) <= 1.05 * loss(untrained(A), A)


def trained_sizes(inverter):
    size = inverter._architecture["matrix_size"]
    return {size} if isinstance(size, int) else set(size)


def test_what_no_file_holds_is_not_trained():
    for changes in ({"depth": 257}, {"width": 2**16 + 1}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            NeuralMatrixInverter(matrix_size=2, **changes).fit()
