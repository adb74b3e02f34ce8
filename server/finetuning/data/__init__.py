"""The rows of a fine-tune: read, checked, and split into parts."""

from server.finetuning.data.checking import check
from server.finetuning.data.faults import BadLine, DataError
from server.finetuning.data.findings import Findings
from server.finetuning.data.loading import load_splits

__all__ = ["BadLine", "DataError", "Findings", "check", "load_splits"]
