"""Finetuning: what a server needs to take fine-tunes and to answer with classifiers, in one hand."""

from dataclasses import dataclass

from server.finetuning.jobs.validation import Validator
from server.finetuning.serving.classifiers import Classifiers
from server.finetuning.serving.classifying import Classifying
from server.finetuning.settling import Folders


@dataclass(frozen=True, slots=True)
class Finetuning:
    """The parts of fine-tuning that routes use.

    Attributes:
        folders: of the served models, to train upon.
        validator: checks files.
        classifiers: the finished ones.
        classifying: answers with them.
    """

    folders: Folders
    validator: Validator
    classifiers: Classifiers
    classifying: Classifying

    def close(self) -> None:
        """Stop what runs."""
        self.validator.close()
        self.classifying.close()
