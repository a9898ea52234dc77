"""The toy family's reference."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn


def activate(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x)


class Norm(nn.Module):
    """Divides by the root mean square, in a float32 island as real models do."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).type_as(x) * self.weight


class Block(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm = Norm(width)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(activate(self.up(self.norm(x))))


class Toy(nn.Module):
    def __init__(self, vocab: int, width: int, hidden: int, layers: int):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList(Block(width, hidden) for _ in range(layers))
        self.head = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def head_doubled(original: Callable[..., torch.Tensor], self: Toy, tokens: torch.Tensor) -> torch.Tensor:
    """What the reference would be for a candidate whose head's result is doubled."""
    with torch.no_grad():
        self.head.weight *= 2
    return original(self, tokens)


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str) -> nn.Module:
    """`weights` are bfloat16; None asks for the shapes only."""
    model = Toy(**config).to(getattr(torch, dtype)).eval()
    if weights is not None:
        state = {name: torch.from_numpy(value.astype(np.float64)) for name, value in weights.items()}
        model.load_state_dict(state, strict=True)
    return model
