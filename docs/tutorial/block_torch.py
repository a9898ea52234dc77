"""The reference: an embedding and two gated MLP blocks, each behind an RMS norm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def gelu(x: torch.Tensor) -> torch.Tensor:
    return functional.gelu(x)


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x) * self.weight


class GatedMLP(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(gelu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm = RMSNorm(width)
        self.mlp = GatedMLP(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.norm(x))


class Model(nn.Module):
    def __init__(self, vocab: int, width: int, hidden: int, layers: int):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList(Block(width, hidden) for _ in range(layers))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return x


def gelu_by_tanh(original: Any, x: torch.Tensor) -> torch.Tensor:
    """What the reference would be for a candidate that takes the approximation of GELU."""
    return functional.gelu(x, approximate="tanh")


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str) -> nn.Module:
    """`weights` are bfloat16; None asks for the shapes only."""
    model = Model(**config).to(getattr(torch, dtype)).eval()
    if weights is not None:
        state = {name: torch.from_numpy(value.astype(np.float64)) for name, value in weights.items()}
        model.load_state_dict(state, strict=True)
    return model
