"""The toy captured, for the pages that describe what lies on disk."""

from toy.conftest import captured, place

__all__ = ["captured", "place"]
