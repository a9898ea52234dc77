"""Planted faults and harmless variants: one group a file, found by walking this package."""
