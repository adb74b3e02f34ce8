"""The loop: order, schedules, the best epoch, stops, figures and failures."""

import numpy as np
import pytest

from samplers.calibration import nll
from server.errors import NumericalError
from server.finetuning.channel import Stopped
from server.finetuning.training.checkpoints import Checkpoints
from server.finetuning.training.loop import Loop
from server.finetuning.training.trainer import Rows, StepFigures
from tests.finetuning.digits import Heard, a_network, a_plan, a_trainer, digit_splits


class Scripted:
    """A trainer whose validation logits are written beforehand: after each epoch so right or wrong, and so sure."""

    num_parameters = 1

    def __init__(self, *margins, loss=1.0, norm=1.0):
        self.margins, self.loss, self.norm, self.steps, self.count, self.held = margins, loss, norm, [], 0, None

    def step(self, batch, *, temperature, learning_rate, seed):
        self.steps.append((temperature, learning_rate, seed, batch))
        return StepFigures(self.loss, 2.0, self.norm)

    def logits(self, inputs):
        margin = self.margins[min(self.count, len(self.margins) - 1)]
        self.count += 1
        return np.tile(np.array([margin, 0.0], np.float32), (len(inputs), 1))

    def state(self):
        return {"weight/w": np.array([self.count])}

    weights = state

    def load_state(self, state):
        self.count = int(state["weight/w"][0])

    def load_weights(self, weights):
        self.held = weights


def run(trainer, *, rows=10, class_weights=None, channel=None, criterion="nll", after_epoch=None, **plan):
    labels = np.arange(rows) % 2
    train = Rows(np.arange(rows, dtype=np.float32)[:, None], labels)
    validation = Rows(np.zeros((4, 1), np.float32), np.zeros(4, np.int64))
    channel = channel or Heard()
    loop = Loop(
        trainer, a_plan(**{"batch_size": 4} | plan), train, validation, channel,
        class_weights=class_weights, criterion=criterion, after_epoch=after_epoch,
    )  # fmt: skip
    return loop.run(), channel


def test_every_epoch_sees_every_row_once_in_an_order_of_its_own():
    trainer = Scripted(1.0)
    run(trainer, n_epochs=3)
    seen = [batch.inputs[:, 0].tolist() for *_, batch in trainer.steps]
    assert [len(rows) for rows in seen] == [4, 4, 2] * 3
    epochs = [[*seen[start], *seen[start + 1], *seen[start + 2]] for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = Scripted(1.0)
    run(other, n_epochs=3, seed=1)
    assert [batch.inputs[:, 0].tolist() for *_, batch in other.steps] != seen
    assert len({seed for *_, seed, _ in trainer.steps}) == 9


@pytest.mark.parametrize(
    ("per", "expected"), [("epoch", [2, 2, 2, 1.25, 1.25, 1.25, 0.5, 0.5, 0.5]), ("step", np.linspace(2, 0.5, 9))]
)
def test_the_temperature_moves_by_epoch_or_by_step(per, expected):
    trainer = Scripted(1.0)
    schedule = {"schedule": "linear", "start": 2.0, "end": 0.5, "per": per}
    fitted, _ = run(trainer, n_epochs=3, temperature=schedule)
    assert [step[0] for step in trainer.steps] == pytest.approx(list(expected))
    assert fitted.temperature_final == 0.5
    assert [epoch.temperature for epoch in fitted.epochs] == pytest.approx([expected[2], expected[5], expected[8]])


def test_the_rate_warms_up_decays_and_follows_the_temperature():
    trainer = Scripted(1.0)
    schedule = {"start": 2.0, "end": 2.0, "lr_coupling": "inverse_square"}
    run(trainer, n_epochs=1, rows=40, warmup=0.2, decay="linear", learning_rate=0.01, temperature=schedule)
    rates = [step[1] for step in trainer.steps]
    assert rates[:3] == pytest.approx([0.04 / 3, 0.08 / 3, 0.04])
    assert rates[3:] == pytest.approx([0.04 * (1 - part / 8) for part in range(1, 8)])


def test_the_epoch_of_least_validation_nll_is_kept_and_training_ends_when_patience_does():
    trainer = Scripted(0.0, 3.0, 2.0, 1.0, 9.0)
    fitted, heard = run(trainer, n_epochs=9, early_stopping_patience=2)
    assert fitted.best_epoch == 2
    assert len(fitted.epochs) == 4
    assert trainer.held == {"weight/w": np.array([2])}
    assert "training ends early: epoch 2 is still the best" in heard.messages()


def test_the_best_epoch_may_be_that_of_the_best_macro_f1():
    fitted, _ = run(Scripted(-1.0, 1.0, 5.0), n_epochs=3, criterion="macro_f1")
    assert fitted.best_epoch == 2  # the third is no better, only surer


def test_an_epoch_tells_both_temperatures_losses_of_the_same_logits():
    schedule = {"start": 2.0, "end": 2.0}
    fitted, heard = run(Scripted(1.5), n_epochs=1, temperature=schedule)
    epoch = fitted.epochs[0]
    logits, labels = np.array([[1.5, 0.0]] * 4), np.zeros(4, np.int64)
    assert epoch.validation_nll == pytest.approx(nll(logits, labels))
    assert epoch.validation_nll_at_training == pytest.approx(nll(logits, labels, 2.0))
    assert (epoch.loss, epoch.loss_at_one, epoch.gradient_norm, epoch.validation_accuracy) == (1.0, 2.0, 1.0, 1.0)
    told = [data for kind, _, _, data in heard.events if kind == "metrics"]
    assert [data["step"] for data in told] == [1, 2, 3, 3]
    assert told[-1] == {"step": 3, "epoch": 1} | epoch.model_dump()
    assert heard.reports[-1] == (1.0, 0, 3, None) or heard.reports[-1][:3] == (1.0, 0, 3)


def test_rows_weigh_what_their_class_does():
    trainer = Scripted(1.0)
    run(trainer, n_epochs=1, class_weights=np.array([1.0, 3.0], np.float32))
    for *_, batch in trainer.steps:
        np.testing.assert_array_equal(batch.weights, np.where(batch.labels == 1, 3.0, 1.0))


@pytest.mark.parametrize("figures", [{"loss": float("nan")}, {"norm": float("inf")}])
def test_a_loss_that_is_not_finite_ends_training_with_the_remedy(figures):
    with pytest.raises(NumericalError, match=r"step 1 \(epoch 1\).*lower learning_rate"):
        run(Scripted(1.0, **figures))


def test_logits_that_are_not_finite_end_training():
    with pytest.raises(NumericalError, match="after epoch 1 the logits"):
        run(Scripted(float("nan")))


def test_what_is_raised_after_an_epoch_ends_training():
    class EnoughError(Exception):
        pass

    def after(epoch):
        if epoch.number == 2:
            raise EnoughError

    trainer = Scripted(1.0)
    with pytest.raises(EnoughError):
        run(trainer, n_epochs=5, after_epoch=after)
    assert len(trainer.steps) == 6


def loop_of(folder, channel, framework="torch", every_s=60.0, **changes):
    plan = a_plan(framework, n_epochs=3, **changes)
    splits = digit_splits(train=150)
    train, validation = (Rows(part.inputs, part.labels) for part in (splits.train, splits.validation))
    trainer = a_trainer(framework, a_network(dropout=0.2))
    checkpoints = Checkpoints(folder, "plan", channel) if folder else None
    loop = Loop(trainer, plan, train, validation, channel, checkpoints=checkpoints, checkpoint_every_s=every_s)
    return trainer, loop


@pytest.mark.parametrize("stop_after", [0, 2, 5, 7, 14])
def test_training_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, stop_after):
    whole, loop = loop_of(None, Heard())
    expected = loop.run()
    with pytest.raises(Stopped):
        loop_of(tmp_path, Heard(stop_after))[1].run()
    resumed, loop = loop_of(tmp_path, heard := Heard())
    fitted = loop.run()
    assert f"training goes on after step {stop_after}" in heard.messages()
    for name, weight in whole.weights().items():
        np.testing.assert_array_equal(weight, resumed.weights()[name])
    without = {"exclude": {"seconds"}}
    assert [epoch.model_dump(**without) for epoch in fitted.epochs] == [
        epoch.model_dump(**without) for epoch in expected.epochs
    ]
    assert fitted.best_epoch == expected.best_epoch


def test_a_training_that_has_ended_is_not_trained_again(tmp_path):
    trainer, loop = loop_of(tmp_path, Heard())
    expected = loop.run()
    again, loop = loop_of(tmp_path, heard := Heard())
    assert loop.run() == expected
    assert not heard.messages("metrics")
    np.testing.assert_array_equal(trainer.weights()["head.weight"], again.weights()["head.weight"])
