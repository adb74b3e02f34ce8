"""Preparation: what is made of a plan and its rows before weights move: the encoder, rows as a network takes them."""

from pathlib import Path

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.channel import Channel, Stopped
from server.finetuning.data.folds import Folds
from server.finetuning.examples import Examples, Splits
from server.finetuning.plan import TEXT_METHODS, Plan
from server.finetuning.training.embedding import fingerprint, kept_on_disk, model_embed
from server.finetuning.training.inputs import Encoder, encoder_for
from server.finetuning.training.tokens import Tokens
from server.finetuning.training.trainer import Rows
from server.models.tokenizer import Tokenizer

EMBEDDINGS = "embeddings"


def encoder_of(plan: Plan, train: Examples, folder: Path, channel: Channel) -> Encoder:
    """Make the encoder of a plan, from the training part.

    Args:
        plan: what is trained.
        train: the rows it learns from.
        folder: of the job; gets `embeddings` where a model's hidden states are read.
        channel: hears how far reading is, and says whether to stop.

    Raises:
        InvalidRequestError: the rows are not what the method takes.
    """
    if plan.method not in TEXT_METHODS:
        return encoder_for(plan.method, train.inputs, None, None)
    model_dir, max_length = Path(plan.model_dir), plan.hyperparameters.max_length
    tokens = Tokens(Tokenizer.from_folder(model_dir), max_length)
    if plan.method != "linear_probe":
        return encoder_for(plan.method, train.inputs, tokens, None)

    def told(_: float) -> None:
        if channel.should_stop:
            raise Stopped
        channel.progress(0.0, epoch=0, step=0, eta_s=None)

    embed = model_embed(plan.framework, model_dir, tokens, max_length)
    of = f"{plan.framework} {max_length} {fingerprint(model_dir)}"
    return encoder_for(plan.method, train.inputs, tokens, kept_on_disk(embed, folder / EMBEDDINGS, of, told))


def encoders_of(plan: Plan, train: Examples, folds: Folds, folder: Path, channel: Channel) -> list[Encoder]:
    """Make the encoders of a plan's networks: one that they share, or one each.

    Cross-fitted networks of `dan` have one each, learned from the rows that the network learns from: whether a word is
    in a vocabulary may hang on a single text, and the texts of a fold shall be as new to its network as any others.
    Means and deviations hang on no single row, and are shared.

    Args:
        plan: what is trained.
        train: the training part.
        folds: of it.
        folder: of the job; see `encoder_of`.
        channel: likewise.

    Raises:
        InvalidRequestError: the rows are not what the method takes.
    """
    if plan.method != "dan" or not plan.hyperparameters.cross_fitted:
        return [encoder_of(plan, train, folder, channel)]
    parts = [train.take(folds.learned_by(number)) for number in range(plan.hyperparameters.ensemble)]
    return [encoder_of(plan, part, folder, channel) for part in parts]


def encoded(encoder: Encoder, examples: Examples) -> Rows:
    """Return a part's rows as the network takes them."""
    return Rows(encoder.encode(examples.inputs), examples.labels)


def class_weights(plan: Plan, splits: Splits) -> np.ndarray | None:
    """Return what the loss of a row of each class is multiplied by, float32 [classes]; None: 1.

    `balanced` is rows / (classes · rows of the class), over classes that the training part has.
    """
    asked = plan.hyperparameters.class_weight
    if asked is None:
        return None
    if asked == "balanced":
        counts = np.bincount(splits.train.labels, minlength=len(splits.classes))
        return (counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)
    if unknown := sorted(set(asked) - set(splits.classes)):
        raise InvalidRequestError(
            f"class_weight names {', '.join(unknown)}, which no row has; classes are {', '.join(splits.classes)}",
            param="hyperparameters.class_weight",
        )
    return np.array([asked.get(name, 1.0) for name in splits.classes], np.float32)
