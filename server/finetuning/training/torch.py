"""TorchTrainer: a network with its optimiser in torch; `tensorflow.py` has the same functions in the same order."""

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from server.finetuning.training.feed import Feed, serving_feed, training_feeds
from server.finetuning.training.network import HEAD, Network
from server.finetuning.training.optimizer import Optimizer
from server.finetuning.training.trainer import Batch, Inputs, StepFigures, named_state, split_state

Tensor = torch.Tensor


class TorchTrainer:
    """Trains a network; see `Trainer` for what each method promises."""

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
        self._weights = {name: self._tensor(weight).requires_grad_() for name, weight in weights.items()}
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}  # made by the first step: who only serves needs none
        self._steps = 0
        self.num_parameters = sum(weight.size for weight in weights.values())

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
        loss, loss_at_one = sums.tolist()
        return StepFigures(loss, loss_at_one, norm)

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Return the logits of rows."""
        parts = []
        for start in range(0, len(inputs), self._batch_size):
            rows = inputs[start : start + self._batch_size]
            feed = serving_feed(self._network, rows, self._batch_size)
            with torch.no_grad():
                parts.append(self._forward(feed)[: len(rows)].cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self._network.classes), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Copy weights and moments."""
        moments = self._moments or self._still()
        return named_state(
            self.weights(), {name: (_array(m), _array(v)) for name, (m, v) in moments.items()}, self._steps
        )

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` returned."""
        weights, moments, self._steps = split_state(state)
        self.load_weights(weights)
        self._moments = {name: (self._tensor(m), self._tensor(v)) for name, (m, v) in moments.items()}

    def weights(self) -> dict[str, np.ndarray]:
        """Copy the weights."""
        return {name: _array(weight) for name, weight in self._weights.items()}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take weights over."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self._tensor(weights[name]))

    def _gradients(self, feed: Feed, temperature: float) -> tuple[Tensor, list[Tensor]]:
        """Return a piece's part of both losses, [2], and of the gradient of the first one."""
        logits = self._forward(feed)
        labels = torch.from_numpy(feed.labels).to(self._device)
        tempered = _nll(logits / temperature, labels, self._smoothing)
        loss = (tempered * self._tensor(feed.weights)).sum()
        with torch.no_grad():
            at_one = (_nll(logits, labels, 0.0) * self._tensor(feed.shares)).sum()
        gradients = torch.autograd.grad(loss, list(self._weights.values()))
        return torch.stack([loss.detach(), at_one]), list(gradients)

    @torch.no_grad()
    def _move(self, gradients: list[Tensor], learning_rate: float) -> float:
        """Shorten the gradient if it is too long, move the weights, and return how long it was."""
        rule = self._optimizer
        self._moments = self._moments or self._still()
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
        self._steps += 1
        if rule.max_grad_norm:
            scale = torch.clamp(rule.max_grad_norm / norm, max=1.0)
            gradients = [gradient * scale for gradient in gradients]
        for (name, weight), gradient in zip(self._weights.items(), gradients, strict=True):
            rate = learning_rate * rule.head_rate if name.startswith(f"{HEAD}.") else learning_rate
            if decay := rule.decay_of(weight.ndim):
                weight.mul_(1 - rate * decay)
            if rule.kind == "adamw":
                self._adam(name, weight, gradient, rate)
            else:
                weight.sub_(gradient, alpha=rate)
        return float(norm)

    def _adam(self, name: str, weight: Tensor, gradient: Tensor, rate: float) -> None:
        """Let the moments of a weight follow its gradient, and move it; in place, for embeddings are large."""
        rule, (first, second) = self._optimizer, self._moments[name]
        first.lerp_(gradient, 1 - rule.beta_1)
        second.mul_(rule.beta_2).addcmul_(gradient, gradient, value=1 - rule.beta_2)
        first_correction, second_correction = map(float, rule.corrections(self._steps))
        spread = (second * second_correction).sqrt_().add_(rule.epsilon)
        weight.addcdiv_(first, spread, value=-rate * first_correction)

    def _forward(self, feed: Feed) -> Tensor:
        """Return the logits, [rows, classes]."""
        hidden = _flat(self._weights, self._network, self._tensor(feed.inputs), self._tensor(feed.bag))
        masks = [self._tensor(mask) for mask in feed.masks]
        if self._network.kind == "dan":
            hidden = _activated(hidden, masks)
        for layer in self._network.layers:
            hidden = _activated(linear(self._weights, layer, hidden), masks)
        return linear(self._weights, HEAD, hidden)

    def _still(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the moments before the first step."""
        if self._optimizer.kind == "sgd":
            return {}
        return {name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in self._weights.items()}

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, device=self._device)


def _flat(weights: dict[str, Tensor], network: Network, inputs: Tensor, bag: Tensor) -> Tensor:
    """Return what the hidden layers see, [rows, width]."""
    if network.kind == "dan":
        return functional.embedding_bag(inputs, weights["embedding.weight"], per_sample_weights=bag, mode="sum")
    if network.kind == "cnn":
        return _convolved(weights, network, inputs)
    return inputs.flatten(1)


def _convolved(weights: dict[str, Tensor], network: Network, images: Tensor) -> Tensor:
    """Return what convolutions make of images of [rows, height, width, channels], flattened in that order."""
    planes = images.permute(0, 3, 1, 2)
    for layer in network.convolutions:
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        planes = torch.relu(functional.conv2d(planes, weight, bias, padding=1))
        window = tuple(min(2, side) for side in planes.shape[2:])
        planes = functional.avg_pool2d(planes, window)
    return planes.permute(0, 2, 3, 1).flatten(1)


def linear(weights: dict[str, Tensor], layer: str, inputs: Tensor) -> Tensor:
    """Apply a layer, by its name, to rows [rows, in]."""
    return functional.linear(inputs, weights[f"{layer}.weight"], weights[f"{layer}.bias"])


def _activated(outputs: Tensor, masks: list[Tensor]) -> Tensor:
    """Return what a layer hands on: ReLU, and the next mask where there are any."""
    active = torch.relu(outputs)
    return active * masks.pop(0) if masks else active


def _nll(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of each row, [rows]: 1 - smoothing of its label's, the rest of the mean class's."""
    logprobs = torch.log_softmax(logits, dim=-1)
    own = -logprobs.gather(1, labels[:, None])[:, 0]
    return (1 - smoothing) * own - smoothing * logprobs.mean(dim=-1)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _pick_device(device: str) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
