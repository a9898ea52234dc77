"""The toy captured, for the pages that describe what lies on disk."""

from toy.conftest import place

__all__ = ["place"]
