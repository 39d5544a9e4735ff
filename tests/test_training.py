"""The stream, the posing of a problem, and the loop."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils import check_random_state
from skorch.callbacks import Callback, EarlyStopping

from skdmi.distributions import Members, Mixture, Normal, Resampled, Spectrum, Uniform
from skdmi.modules import InverterResNet
from skdmi.training import MatrixBatches, MatrixStream, Settings, constant, cosine, pose_problem, stream_seed, train
from tests.matrices import make_stack

ARCHITECTURE = {"depth": 2, "width": 4, "matrix_size": [2, 4]}


def make_stream(sizes=(3,), **options):
    defaults = {"batch_size": 16, "batches_per_epoch": 4, "seed": 0}
    return MatrixStream(Uniform(), sizes, **(defaults | options))


def make_validation(m=3, seed=1):
    return MatrixBatches([torch.from_numpy(make_stack("well", 32, m, seed=seed)).float()])


def run(stream=None, validation=None, state=None, **options):
    defaults = {"max_epochs": 2, "learning_rate": 1e-2, "schedule": constant(4)}
    settings = Settings(**(defaults | options))
    return train(ARCHITECTURE, state, stream or make_stream(), validation or make_validation(), settings)


def test_different_keys_give_different_seeds():
    keys = [(), (0,), (0, 0), (1,), ("a",), ("a", 0), ("a", 1), (2**40,), (0, 2**32), (0, 0, 1)]
    assert len({stream_seed(*key) for key in keys}) == len(keys)


class TestMatrixStream:
    def test_an_epoch_is_whole_batches_whose_target_is_the_input(self):
        batches = list(make_stream())
        assert [A.shape for A, _ in batches] == [(16, 3, 3)] * 4
        assert all(A is target for A, target in batches)

    def test_no_matrix_comes_twice(self):
        stream = make_stream()
        matrices = torch.cat([A for _ in range(3) for A, _ in stream])
        assert len(torch.unique(matrices.flatten(1), dim=0)) == len(matrices) == stream.n_matrices_seen

    def test_it_continues_from_the_number_of_matrices_seen(self):
        stream = make_stream()
        list(stream)
        again = make_stream(n_matrices_seen=stream.n_matrices_seen)
        for (A, _), (B, _) in zip(stream, again, strict=True):
            assert torch.equal(A, B)

    def test_chunking_is_in_whole_batches(self, monkeypatch):
        monkeypatch.setattr(MatrixStream, "chunk_entries", 2 * 16 * 9)
        drawn = []

        def draw(n_matrices, matrix_size, **where):
            drawn.append(n_matrices)
            return Uniform()(n_matrices, matrix_size, **where)

        list(MatrixStream(draw, (3,), batch_size=16, batches_per_epoch=5, seed=0))
        assert drawn == [32, 32, 16]

    def test_several_sizes_all_come(self):
        sizes = {A.shape[-1] for A, _ in make_stream(sizes=(2, 3, 5), batches_per_epoch=60)}
        assert sizes == {2, 3, 5}

    def test_global_random_state_is_neither_used_nor_changed(self):
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        first = [A for A, _ in make_stream()]
        assert torch.equal(before, torch.random.get_rng_state())
        torch.manual_seed(1)
        assert all(torch.equal(A, B) for A, (B, _) in zip(first, make_stream(), strict=True))


class TestPoseProblem:
    options = {"scale_free": True, "seed": 0}

    def test_without_X_auto_is_uniform(self):
        problem = pose_problem("auto", (3,), None, **self.options)
        assert problem.distribution == Uniform()
        assert problem.checks is None

    def test_with_X_auto_draws_members_and_holds_out(self):
        X = torch.from_numpy(make_stack("well", 20, 3))
        problem = pose_problem("auto", (3,), X, **self.options)
        assert problem.distribution == Members()
        assert len(problem.checks) == 2
        assert len(problem.members) == 18
        assert not (problem.members[:, None] == X[None]).all(dim=(-1, -2)).any(dim=0).all()

    def test_one_matrix_is_not_held_out(self):
        problem = pose_problem("auto", (3,), torch.eye(3)[None], **self.options)
        assert problem.checks is None
        assert len(problem.members) == 1

    def test_any_other_distribution_is_checked_on_X(self):
        X = torch.from_numpy(make_stack("well", 20, 3))
        problem = pose_problem(Normal(), (3,), X, **self.options)
        assert problem.draw == problem.distribution == Normal()
        assert len(problem.checks) == 20

    def test_uniform_without_range_takes_that_of_X(self):
        X = torch.from_numpy(make_stack("uniform", 20, 3))
        problem = pose_problem(Uniform(), (3,), X, **self.options)
        assert (problem.distribution.low, problem.distribution.high) == (X.min().item(), X.max().item())

    def test_resampling_needs_X(self):
        with pytest.raises(ValueError, match=r"call fit\(X\)"):
            pose_problem(Resampled(), (3,), None, **self.options)

    def test_something_is_always_left_to_train_on(self):
        problem = pose_problem("auto", (3,), torch.eye(3).repeat(2, 1, 1), **self.options)
        assert (len(problem.members), len(problem.checks)) == (1, 1)

    def test_the_domain_of_a_mixture_is_not_that_of_X_alone(self):
        mixture = Mixture((Resampled(), Spectrum(max_cond=1e6)))
        problem = pose_problem(mixture, (3,), torch.eye(3).repeat(20, 1, 1), **self.options)
        assert problem.domain()["condition"][-1] > 1e3

    def test_members_beyond_float32_are_brought_near_one(self):
        X = torch.from_numpy(make_stack("well", 20, 3)) * 1e300
        problem = pose_problem("auto", (3,), X, **self.options)
        generator = torch.Generator().manual_seed(0)
        drawn = problem.draw(50, 3, generator=generator, device="cpu", dtype=torch.float32)
        assert drawn.isfinite().all()
        assert problem.checks.abs().max() < 1

    def test_domain_holds_the_quantiles_of_the_matrices_trained_on(self):
        X = torch.from_numpy(make_stack("condition", 40, 3, condition=100.0)) * 4
        domain = pose_problem("auto", (3,), X, **self.options).domain()
        np.testing.assert_allclose(domain["condition"], 100.0, rtol=1e-9)
        assert domain["scale"] == sorted(domain["scale"])
        drawn = pose_problem("auto", (3,), None, **self.options).domain()
        assert drawn["n_matrices"] == 4096
        assert 1 <= drawn["condition"][0] < drawn["condition"][-1] <= 2.0**53


@pytest.mark.parametrize(("schedule", "end"), [(cosine(200), 0.0), (constant(200), 1.0)])
def test_schedules_warm_up_to_one_and_end_where_they_say(schedule, end):
    factors = [schedule(step) for step in range(200)]
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert max(factors) == 1.0
    assert factors[-1] == pytest.approx(end, abs=1e-3)


class TestTrain:
    def test_equal_seeds_give_equal_weights(self):
        first, second = run(), run()
        assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)

    def test_different_seeds_give_different_weights(self):
        first, second = run(), run(make_stream(seed=1))
        assert not all(torch.equal(first.state[name], second.state[name]) for name in first.state)

    def test_a_row_an_epoch(self):
        outcome = run(max_epochs=3)
        assert [row["epoch"] for row in outcome.history] == [1, 2, 3]
        assert [row["n_matrices"] for row in outcome.history] == [64, 128, 192]
        assert outcome.ended == "finished"

    def test_the_best_weights_are_never_worse_than_the_first(self):
        """A huge learning rate only harms; what comes back is what was there before."""
        outcome = run(learning_rate=50.0, net_params={"optimizer": torch.optim.SGD})
        with torch.random.fork_rng():
            network = InverterResNet(**ARCHITECTURE)
        network.load_state_dict(outcome.state)
        batch = make_validation()[0][0]
        norms = (torch.eye(3) - batch @ network(batch)).flatten(1).norm(dim=1)
        assert norms.mean() <= outcome.loss + 1e-6
        assert outcome.loss <= min(row["valid_loss"] for row in outcome.history)

    def test_keep_last_returns_the_last_weights(self):
        last = run(keep_last=True)
        assert last.loss == last.history[-1]["valid_loss"]

    def test_it_starts_from_the_state_given(self):
        start = run().state
        outcome = run(state=start, learning_rate=1e-12)
        assert all(torch.allclose(outcome.state[name], start[name], atol=1e-6) for name in start)

    def test_the_best_epoch_is_that_of_the_weights_kept(self):
        outcome = run(max_epochs=4)
        losses = [outcome.first_loss, *(row["valid_loss"] for row in outcome.history)]
        assert outcome.loss == losses[outcome.best_epoch] == min(losses)
        last = run(max_epochs=4, keep_last=True)
        assert (last.best_epoch, last.loss) == (4, losses[4])

    def test_training_stops_when_nothing_improves_on_the_first_weights(self):
        outcome = run(max_epochs=50, learning_rate=50.0, net_params={"optimizer": torch.optim.SGD}, patience=2)
        assert outcome.ended == "finished"
        assert (len(outcome.history), outcome.best_epoch) == (2, 0)
        assert outcome.loss == outcome.first_loss

    def test_training_stops_when_nothing_improves_on_the_best(self):
        outcome = run(max_epochs=50, learning_rate=1e-2, patience=3)
        losses = [outcome.first_loss, *(row["valid_loss"] for row in outcome.history)]
        assert len(losses) - 1 - np.argmin(losses) == 3
        patient = run(max_epochs=len(losses) + 4, learning_rate=1e-2)
        assert len(patient.history) == len(losses) + 4
        assert [row["valid_loss"] for row in patient.history][: len(losses) - 1] == losses[1:]

    def test_without_epochs_the_first_weights_are_measured_and_callbacks_left_alone(self):
        outcome = run(max_epochs=0, callbacks=[Fragile()])
        trained = run(max_epochs=1)
        assert (outcome.history, outcome.best_epoch, outcome.ended) == ([], 0, "finished")
        assert outcome.loss == outcome.first_loss == trained.first_loss

    def test_an_early_stopping_among_the_users_callbacks_ends_normally(self):
        outcome = run(max_epochs=50, learning_rate=1e-12, callbacks=[EarlyStopping(patience=2)])
        assert outcome.ended == "finished"

    def test_ctrl_c_is_told_apart_and_leaves_the_best_weights(self):
        outcome = run(callbacks=[Interrupt(after=6)])
        assert outcome.ended == "interrupted"
        assert len(outcome.history) == 1
        assert all(value.isfinite().all() for value in outcome.state.values())

    def test_ctrl_c_before_the_first_epoch_leaves_the_first_weights(self):
        class Slow(MatrixBatches):
            def __getitem__(self, index):
                raise KeyboardInterrupt

        outcome = run(validation=Slow(make_validation().batches), patience=2)
        assert outcome.ended == "interrupted"
        assert outcome.history == []
        assert all(value.isfinite().all() for value in outcome.state.values())

    def test_a_source_of_another_shape_is_named(self):
        def flat(n_matrices, matrix_size, **where):
            return torch.zeros(n_matrices, matrix_size**2)

        with pytest.raises(ValueError, match=r"returned shape \(64, 9\); expected a tensor of shape \(64, 3, 3\)"):
            run(MatrixStream(flat, (3,), batch_size=16, batches_per_epoch=4, seed=0))

    @pytest.mark.parametrize("name", ["callbacks", "train_split"])
    def test_net_params_cannot_take_away_what_training_needs(self, name):
        with pytest.raises(ValueError, match=f"net_params sets {name}"):
            run(net_params={name: None})

    def test_the_log_is_plain_and_shows_small_losses(self, capsys):
        run(verbose=1)
        printed = capsys.readouterr().out
        assert "\x1b" not in printed
        assert "e-0" in printed
        assert printed.startswith("epoch 0, before training: valid_loss ")

    def test_a_loss_that_stops_being_finite_leaves_finite_weights(self):
        outcome = run(MatrixStream(NanAfter(2), (3,), batch_size=16, batches_per_epoch=4, seed=0))
        assert outcome.ended == "diverged"
        assert all(value.isfinite().all() for value in outcome.state.values())
        assert math.isfinite(outcome.loss)

    def test_validation_that_is_not_finite_is_an_error(self):
        with pytest.raises(ValueError, match="not finite"):
            run(validation=MatrixBatches([torch.full((4, 3, 3), torch.nan)]))

    def test_gradients_that_overflow_do_not_end_it(self):
        """Deep networks amplify rounding where singular values span twelve decades."""

        def graded(n_matrices, matrix_size, *, generator, **where):
            seed = int(torch.randint(2**31, (), generator=generator))
            return torch.from_numpy(make_stack("graded", n_matrices, matrix_size, condition=1e12, seed=seed)).to(
                **where
            )

        architecture = {"depth": 12, "width": 4}
        stream = MatrixStream(graded, (4,), batch_size=64, batches_per_epoch=2, seed=0)
        options = {"max_epochs": 1, "learning_rate": 1e-2, "schedule": constant(2), "keep_last": True}
        outcome = train(architecture, None, stream, make_validation(4), Settings(**options))
        assert outcome.ended == "finished"
        assert all(value.isfinite().all() for value in outcome.state.values())

    def test_callbacks_are_cloned(self):
        callback = Counter()
        run(callbacks=[callback])
        assert callback.n_batches == 0

    def test_global_random_state_is_left_alone(self):
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        numpy_before = check_random_state(None).get_state()[1].copy()
        run()
        assert torch.equal(before, torch.random.get_rng_state())
        assert (numpy_before == check_random_state(None).get_state()[1]).all()

    def test_learning_lowers_the_loss_where_there_is_something_to_learn(self):
        architecture = {"depth": 2, "width": 16, "block": "dense", "matrix_size": 2}
        stream = MatrixStream(Uniform(), (2,), batch_size=128, batches_per_epoch=20, seed=0)
        options = {"max_epochs": 3, "learning_rate": 1e-2, "schedule": cosine(60)}
        outcome, untrained = (
            train(architecture, None, stream, make_validation(2), Settings(**(options | {"learning_rate": rate})))
            for rate in (1e-2, 1e-12)
        )
        assert outcome.loss < 0.9 * untrained.loss


class Interrupt(Callback):
    """A person presses Ctrl-C in the middle of an epoch."""

    def __init__(self, after):
        self.after = after

    def initialize(self):
        self.n_batches = 0
        return self

    def on_batch_end(self, net, training, **kwargs):
        self.n_batches += training
        if self.n_batches == self.after:
            raise KeyboardInterrupt


class Fragile(Callback):
    """Wants an epoch to have ended when training ends."""

    def on_train_end(self, net, **kwargs):
        assert net.history[-1, "valid_loss"] > 0


class Counter(Callback):
    def __init__(self, n_batches=0):
        self.n_batches = n_batches

    def on_batch_end(self, net, **kwargs):
        self.n_batches += 1


class NanAfter:
    """A source that breaks in its second epoch."""

    def __init__(self, n_calls):
        self.n_calls = n_calls

    def __call__(self, n_matrices, matrix_size, **where):
        self.n_calls -= 1
        A = Uniform()(n_matrices, matrix_size, **where)
        return A if self.n_calls > 0 else A * torch.nan
