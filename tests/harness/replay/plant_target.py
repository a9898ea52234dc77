"""Functions for the tests of planting: plain, decorated, in classes, and cached."""

import functools

import jax


def double(x):
    return x * 2


@jax.jit
def doubled_twice(x):
    return double(double(x))


@functools.cache
def table(size: int) -> tuple[int, ...]:
    return tuple(double(number) for number in range(size))


class Base:
    def value(self) -> int:
        return 1


class Child(Base):
    def value(self) -> int:
        return super().value() + 10

    @staticmethod
    def fixed() -> int:
        return 3

    @property
    def half(self) -> int:
        return self.value() // 2
