"""Reference: TF-IDF with logistic regression on the same texts, which a fine-tune should not lose to."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from samplers.calibration import figures
from server.errors import InvalidRequestError
from server.finetuning.data.folds import Folds
from server.finetuning.examples import Examples, Splits
from server.finetuning.outcome import Figures
from server.finetuning.plan import Plan
from server.finetuning.training.ensemble import mean_logits
from server.finetuning.training.evaluation import fitted, serving_temperature
from server.finetuning.training.unseen import Unseen

_STRENGTH = 10.0  # inverse of the L2 penalty
_ITERATIONS = 1_000
_MANY = 100  # rows, from which a word of one text alone is left out
_SPACED = 0.05  # of characters, in a language that parts its words


def tf_idf_reference(plan: Plan, splits: Splits, folds: Folds) -> Figures:
    """Train the reference on the training part, calibrate it alike, and judge it on the test part.

    Words, or single characters and pairs where a language does not part its words, that two texts have (one, where
    there are few texts); each counts 1 + ln(times); L2 penalty 1/10. Where the networks of the fine-tune are
    cross-fitted, it is as many of these, cross-fitted and averaged as they are.

    Args:
        plan: of the fine-tune: how it is calibrated and served.
        splits: of texts.
        folds: of the training part.

    Raises:
        InvalidRequestError: scikit-learn is not installed.
        ValueError: the texts have no words, or the training part one class.
    """
    cross_fitted = plan.hyperparameters.cross_fitted
    count = plan.hyperparameters.ensemble if cross_fitted else 1
    models = [_Model(splits, splits.train.take(folds.learned_by(number))) for number in range(count)]
    unseen = Unseen([splits.calibration], folded=False)
    if cross_fitted:
        unseen = Unseen([splits.train.take(folds.of(number)) for number in range(count)], folded=True)
    fit = fitted(plan, *unseen.answered(models)) if unseen.num_rows else None
    temperature = serving_temperature(plan.model_copy(update={"serving_temperature": "fitted"}), fit, 1.0)
    logits = mean_logits(models, [splits.test.inputs] * count)
    return Figures(**figures(logits, splits.test.labels, temperature))


class _Model:
    """TF-IDF with logistic regression, trained on some texts."""

    def __init__(self, splits: Splits, texts: Examples) -> None:
        self._model, self._classes = _trained(splits, texts), len(splits.classes)

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        if not len(texts):
            return np.zeros((0, self._classes))
        return _all_classes(self._model.predict_log_proba(texts), self._model.classes_, self._classes)


def _trained(splits: Splits, texts: Examples) -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise InvalidRequestError("fine-tuning needs scikit-learn: pip install 'kelvin-server[finetune]'") from error
    how = {} if _has_words(splits) else {"analyzer": "char", "ngram_range": (1, 2)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2 if len(texts) >= _MANY else 1, **how)
    model = make_pipeline(vectorizer, LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS))
    return model.fit(texts.inputs, texts.labels)


def _has_words(splits: Splits) -> bool:
    text = " ".join(splits.train.inputs[:100])
    return text.count(" ") >= _SPACED * len(text)


def _all_classes(logprobs: np.ndarray, known: np.ndarray, classes: int) -> np.ndarray:
    """Give classes that the training part lacks the least probability of a float."""
    logits = np.full((len(logprobs), classes), np.log(np.finfo(np.float64).tiny))
    logits[:, known] = np.maximum(logprobs, logits[:, known])
    return logits
