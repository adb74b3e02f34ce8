"""What can go wrong with a fine-tune beside a bad request."""

from server.errors import KelvinError


class TrainingError(KelvinError):
    """Training cannot go on with these settings; the message says where it stopped and which of them to change."""

    code = "training_failed"


class ClassifierError(KelvinError):
    """A classifier's folder is damaged, or was not written by Kelvin."""

    code = "classifier_error"
