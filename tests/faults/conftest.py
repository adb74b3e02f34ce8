"""What faults are put into: tiny backends, and a server on a port with a clock that can be hurried."""

from tests.backends.conftest import cache_dir, checkpoint, make_backend

__all__ = ["cache_dir", "checkpoint", "make_backend"]
