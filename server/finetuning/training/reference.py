"""Reference: TF-IDF with logistic regression on the same texts, which a fine-tune should not lose to."""

import numpy as np

from samplers.calibration import figures
from server.errors import InvalidRequestError
from server.finetuning.examples import Splits
from server.finetuning.outcome import Figures
from server.finetuning.plan import Plan
from server.finetuning.training.evaluation import fitted, serving_temperature

_STRENGTH = 10.0  # inverse of the L2 penalty
_ITERATIONS = 1_000
_MANY = 100  # rows, from which a word of one text alone is left out
_SPACED = 0.05  # of characters, in a language that parts its words


def tf_idf_reference(plan: Plan, splits: Splits) -> Figures:
    """Train the reference on the training part, calibrate it alike, and judge it on the test part.

    Words, or single characters and pairs where a language does not part its words, that two texts have (one, where
    there are few texts); each counts 1 + ln(times); L2 penalty 1/10.

    Args:
        plan: of the fine-tune: how it is calibrated and served.
        splits: of texts.

    Raises:
        InvalidRequestError: scikit-learn is not installed.
        ValueError: the texts have no words, or the training part one class.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise InvalidRequestError("fine-tuning needs scikit-learn: pip install 'kelvin-server[finetune]'") from error
    how = {} if _has_words(splits) else {"analyzer": "char", "ngram_range": (1, 2)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2 if len(splits.train) >= _MANY else 1, **how)
    model = make_pipeline(vectorizer, LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS))
    model.fit(splits.train.inputs, splits.train.labels)

    def logits(texts: object) -> np.ndarray:
        return _all_classes(model.predict_log_proba(texts), model.classes_, len(splits.classes))

    fit = (
        fitted(plan, logits(splits.calibration.inputs), splits.calibration.labels) if len(splits.calibration) else None
    )
    temperature = serving_temperature(plan.model_copy(update={"serving_temperature": "fitted"}), fit, 1.0)
    return Figures(**figures(logits(splits.test.inputs), splits.test.labels, temperature))


def _has_words(splits: Splits) -> bool:
    text = " ".join(splits.train.inputs[:100])
    return text.count(" ") >= _SPACED * len(text)


def _all_classes(logprobs: np.ndarray, known: np.ndarray, classes: int) -> np.ndarray:
    """Give classes that the training part lacks the least probability of a float."""
    logits = np.full((len(logprobs), classes), np.log(np.finfo(np.float64).tiny))
    logits[:, known] = np.maximum(logprobs, logits[:, known])
    return logits
