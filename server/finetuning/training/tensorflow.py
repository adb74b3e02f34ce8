"""TensorFlowTrainer: a network with its optimiser in TensorFlow; `torch.py` has the same functions in the same order.

A step is two compiled programs, the gradient and the move. Temperature, rate and masks are data of the programs: they
are traced once, whatever the schedule does.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from server.finetuning.training.feed import Feed, serving_feed, training_feeds
from server.finetuning.training.network import HEAD, Network
from server.finetuning.training.optimizer import Optimizer
from server.finetuning.training.trainer import Batch, Inputs, StepFigures, named_state, split_state

Tensor = tf.Tensor
_PAIRWISE = tf.AggregationMethod.EXPERIMENTAL_TREE


class TensorFlowTrainer:
    """Trains a network; see `Trainer` for what each method promises.

    Attributes:
        traces: programs traced so far.
    """

    def __init__(
        self,
        network: Network,
        weights: Mapping[str, np.ndarray],
        optimizer: Optimizer,
        *,
        batch_size: int,
        accumulate: int = 1,
        label_smoothing: float = 0.0,
        device: str = "auto",
    ) -> None:
        """Put weights onto a device.

        Args:
            network: its shape.
            weights: float32 by name, as `initial_weights` draws them.
            optimizer: how they move.
            batch_size: rows of a step.
            accumulate: pieces that a step is computed in.
            label_smoothing: mass spread over all classes, in [0, 1).
            device: `auto`, `cpu` or `cuda`; auto is CUDA where it is there.
        """
        self._network, self._optimizer = network, optimizer
        self._batch_size, self._accumulate, self._smoothing = batch_size, accumulate, label_smoothing
        self._device = _pick_device(device)
        self._weights = {name: self._variable(weight) for name, weight in weights.items()}
        self._moments: dict[str, tuple[tf.Variable, tf.Variable]] = {}
        self._steps = 0
        self.num_parameters = sum(weight.size for weight in weights.values())
        self.traces = 0
        self._jit = True
        self._compile()

    def step(self, batch: Batch, *, temperature: float, learning_rate: float, seed: int) -> StepFigures:
        """Move the weights once."""
        pieces = training_feeds(
            self._network, batch, seed=seed, rows=self._batch_size, pieces=self._accumulate
        )  # fmt: skip
        sums, gradients = self._gradients(next(pieces), temperature)
        for piece in pieces:
            further, more = self._gradients(piece, temperature)
            sums = sums + further
            gradients = [one + other for one, other in zip(gradients, more, strict=True)]
        norm = self._move(gradients, learning_rate)
        loss, loss_at_one = sums.numpy().tolist()
        return StepFigures(loss, loss_at_one, norm)

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Return the logits of rows."""
        parts = []
        for start in range(0, len(inputs), self._batch_size):
            rows = inputs[start : start + self._batch_size]
            feed = serving_feed(self._network, rows, self._batch_size if self._jit else len(rows))
            with tf.device(self._device):
                parts.append(self._traced_logits(feed.inputs, feed.bag).numpy()[: len(rows)])
        return np.concatenate(parts) if parts else np.zeros((0, self._network.classes), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Copy weights and moments."""
        moments = self._moments or self._still()
        return named_state(
            self.weights(),
            {name: (m.numpy().copy(), v.numpy().copy()) for name, (m, v) in moments.items()},
            self._steps,
        )

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` returned."""
        weights, moments, self._steps = split_state(state)
        self.load_weights(weights)
        self._moments = self._moments or self._still()
        for name, values in moments.items():
            for variable, value in zip(self._moments[name], values, strict=True):
                variable.assign(value)

    def weights(self) -> dict[str, np.ndarray]:
        """Copy the weights."""
        return {name: weight.numpy().copy() for name, weight in self._weights.items()}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take weights over."""
        for name, weight in self._weights.items():
            weight.assign(weights[name])

    def _gradients(self, feed: Feed, temperature: float) -> tuple[Tensor, list[Tensor]]:
        """Return a piece's part of both losses, [2], and of the gradient of the first one."""
        with tf.device(self._device):
            return self._traced_gradients(
                feed.inputs, feed.bag, feed.masks, feed.labels, feed.weights, feed.shares, np.float32(temperature)
            )

    def _move(self, gradients: list[Tensor], learning_rate: float) -> float:
        """Shorten the gradient if it is too long, move the weights, and return how long it was."""
        self._moments = self._moments or self._still()
        self._steps += 1
        with tf.device(self._device):
            norm = self._traced_move(gradients, np.float32(learning_rate), *self._optimizer.corrections(self._steps))
        return float(norm)

    def _compile(self) -> None:
        """Set up the programs; each is traced at its first call, for any number of rows and tokens."""
        network, any_rows = self._network, tf.TensorSpec([None], tf.float32)
        tokens = network.reads_tokens
        inputs = tf.TensorSpec([None, None] if tokens else [None, *network.inputs], tf.int32 if tokens else tf.float32)
        bag = tf.TensorSpec([None, None], tf.float32)
        masks = tuple(tf.TensorSpec([None, width], tf.float32) for width in network.dropped if network.dropout)
        labels, number = tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.float32)
        gradients = [tf.TensorSpec(weight.shape, tf.float32) for weight in self._weights.values()]

        def compiled(function, *signature):
            return tf.function(function, input_signature=signature, jit_compile=self._jit, autograph=False)

        self._traced_logits = compiled(self._trace_logits, inputs, bag)
        self._traced_gradients = compiled(
            self._trace_gradients, inputs, bag, masks, labels, any_rows, any_rows, number
        )  # fmt: skip
        self._traced_move = compiled(self._trace_move, gradients, number, number, number)

    def _trace_logits(self, inputs: Tensor, bag: Tensor) -> Tensor:
        self.traces += 1
        return self._forward(inputs, bag, ())

    def _trace_gradients(
        self, inputs: Tensor, bag: Tensor, masks: tuple[Tensor, ...], labels: Tensor, weights: Tensor, shares: Tensor,
        temperature: Tensor,
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        self.traces += 1
        logits = self._forward(inputs, bag, masks)
        loss = tf.reduce_sum(_nll(logits / temperature, labels, self._smoothing) * weights)
        at_one = tf.reduce_sum(_nll(logits, labels, 0.0) * shares)
        # Two at a time: AddN of three or more begins with whichever it finds free, so that their order would vary.
        gradients = tf.gradients(loss, list(self._weights.values()), aggregation_method=_PAIRWISE)
        return tf.stack([loss, at_one]), [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _trace_move(self, gradients: list[Tensor], learning_rate: Tensor, first: Tensor, second: Tensor) -> Tensor:
        self.traces += 1
        rule = self._optimizer
        norm = tf.sqrt(tf.reduce_sum(tf.stack([tf.reduce_sum(gradient * gradient) for gradient in gradients])))
        scale = tf.minimum(rule.max_grad_norm / norm, 1.0) if rule.max_grad_norm else None
        for (name, weight), gradient in zip(self._weights.items(), gradients, strict=True):
            rate = learning_rate * rule.head_rate if name.startswith(f"{HEAD}.") else learning_rate
            change = gradient if scale is None else gradient * scale
            if rule.kind == "adamw":
                change = self._adam(name, change, first, second)
            weight.assign_sub(rate * (change + rule.decay_of(weight.shape.rank) * weight))
        return norm

    def _adam(self, name: str, gradient: Tensor, first_correction: Tensor, second_correction: Tensor) -> Tensor:
        """Let the moments of a weight follow its gradient, and return its direction."""
        rule, (first, second) = self._optimizer, self._moments[name]
        first.assign_add((1 - rule.beta_1) * (gradient - first))
        second.assign_add((1 - rule.beta_2) * (gradient * gradient - second))
        return first * first_correction / (tf.sqrt(second * second_correction) + rule.epsilon)

    def _forward(self, inputs: Tensor, bag: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
        """Return the logits, [rows, classes]."""
        hidden = _flat(self._weights, self._network, inputs, bag)
        left = list(masks)
        if self._network.kind == "dan":
            hidden = _activated(hidden, left)
        for layer in self._network.layers:
            hidden = _activated(linear(self._weights, layer, hidden), left)
        return linear(self._weights, HEAD, hidden)

    def _still(self) -> dict[str, tuple[tf.Variable, tf.Variable]]:
        """Return the moments before the first step."""
        if self._optimizer.kind == "sgd":
            return {}
        zeros = {name: np.zeros(weight.shape, np.float32) for name, weight in self._weights.items()}
        return {name: (self._variable(zero), self._variable(zero)) for name, zero in zeros.items()}

    def _variable(self, values: np.ndarray) -> tf.Variable:
        with tf.device(self._device):
            return tf.Variable(np.asarray(values, np.float32))


def _flat(weights: dict[str, tf.Variable], network: Network, inputs: Tensor, bag: Tensor) -> Tensor:
    """Return what the hidden layers see, [rows, width]."""
    if network.kind == "dan":
        return tf.einsum("rt,rte->re", bag, tf.gather(weights["embedding.weight"], inputs))
    if network.kind == "cnn":
        return _convolved(weights, network, inputs)
    return tf.reshape(inputs, [tf.shape(inputs)[0], int(np.prod(network.inputs))])


def _convolved(weights: dict[str, tf.Variable], network: Network, images: Tensor) -> Tensor:
    """Return what convolutions make of images of [rows, height, width, channels], flattened in that order."""
    planes = images
    for layer in network.convolutions:
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        planes = tf.nn.relu(tf.nn.conv2d(planes, tf.transpose(weight, [2, 3, 1, 0]), 1, "SAME") + bias)
        window = [min(2, side) for side in planes.shape[1:3]]
        planes = tf.nn.avg_pool2d(planes, window, window, "VALID")
    return tf.reshape(planes, [tf.shape(planes)[0], int(np.prod(planes.shape[1:]))])


def linear(weights: dict[str, tf.Variable], layer: str, inputs: Tensor) -> Tensor:
    """Apply a layer, by its name, to rows [rows, in]."""
    return tf.matmul(inputs, weights[f"{layer}.weight"], transpose_b=True) + weights[f"{layer}.bias"]


def _activated(outputs: Tensor, masks: list[Tensor]) -> Tensor:
    """Return what a layer hands on: ReLU, and the next mask where there are any."""
    active = tf.nn.relu(outputs)
    return active * masks.pop(0) if masks else active


def _nll(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of each row, [rows]: 1 - smoothing of its label's, the rest of the mean class's."""
    logprobs = tf.nn.log_softmax(logits, axis=-1)
    own = -tf.gather(logprobs, labels, batch_dims=1)
    return (1 - smoothing) * own - smoothing * tf.reduce_mean(logprobs, axis=-1)


def _pick_device(device: str) -> str:
    found = "cuda" if tf.config.list_physical_devices("GPU") else "cpu"
    return "/GPU:0" if (found if device == "auto" else device).startswith("cuda") else "/CPU:0"
