"""The nouns of paritygate: frozen dataclasses and enums, JSON in and out, NumPy at most."""
