"""Does the JAX port of a PyTorch model compute the same thing, where does it not, and why."""

__version__ = "0.1.0"
