"""The reference: two gated layers between an embedding and a head, in PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import silu


class Gated(nn.Module):
    """The gate and what it gates are the halves of one product, the gate first."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.halves = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.halves(x).chunk(2, dim=-1)
        return self.down(silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.mlp = Gated(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.norm(x))


class Model(nn.Module):
    def __init__(self, vocab: int, width: int, hidden: int, layers: int):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList(Layer(width, hidden) for _ in range(layers))
        self.head = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str) -> nn.Module:
    """What paritygate calls: the model in one dtype; without weights it asks for the shapes only."""
    model = Model(**config).to(getattr(torch, dtype)).eval()
    if weights is not None:
        model.load_state_dict({name: torch.from_numpy(value.astype(np.float64)) for name, value in weights.items()})
    return model
