"""Findings: what a look at a fine-tune's files says, before anything is trained."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from server.finetuning.data.division import PartName
from server.finetuning.data.faults import BadLine
from server.finetuning.data.files import FileField


class _Found(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(_Found):
    """Why nothing can be trained on these files.

    Attributes:
        code: the case, for programs.
        message: the problem and the remedy.
        param: field of the request.
    """

    code: str
    message: str
    param: str | None


class FileBadLine(BadLine):
    """A bad line, and the file that it is in.

    Attributes:
        file: field of the request that names the file.
    """

    file: FileField


class Findings(_Found):
    """What is in the files, and what training would make of it; None, or empty, where errors kept it from being known.

    Attributes:
        valid: whether a fine-tune would be begun.
        errors: why not, one a file or one for all.
        warnings: what is odd, in sentences.
        rows: that can be used, by file.
        bad_lines: of all files, the first 50 of each.
        bad_line_count: of all bad lines.
        bad_line_counts: the same by code.
        empty_texts: how many of them have a text of white space alone.
        input: what rows are: `text` or `features`; None: no row can be used.
        shape: of a row's features; None for texts.
        class_counts: rows of each class in the training file.
        splits: rows of each part.
        split_counts: rows of each class, by part.
        duplicates: rows that hold the same as an earlier one of their file; they stay in one part.
        conflicts: rows of the training file that hold the same as others of another class.
        leaks: rows left out of a part because a file given for another part has the same.
        rare_classes: those with fewer than 10 rows in the training file, with their rows.
        steps_per_epoch: optimiser steps of a pass over the training part, of an ensemble by its first network.
        steps: of the whole training, all networks of an ensemble, if it is not stopped early.
        search_trainings: trainings, over fewer rows, that the search makes beforehand.
    """

    valid: bool
    errors: list[Problem]
    warnings: list[str]
    rows: dict[FileField, int]
    bad_lines: list[FileBadLine]
    bad_line_count: int
    bad_line_counts: dict[str, int]
    empty_texts: int
    input: Literal["text", "features"] | None
    shape: list[int] | None
    class_counts: dict[str, int]
    splits: dict[PartName, int]
    split_counts: dict[PartName, dict[str, int]]
    duplicates: int | None
    conflicts: int | None
    leaks: int | None
    rare_classes: dict[str, int]
    steps_per_epoch: int | None
    steps: int | None
    search_trainings: int
