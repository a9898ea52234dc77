"""Products of 16-bit peers: upcast is what torch's own kernels give but for the order of sums, and none escapes."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from paritygate.core.cell import Mode
from paritygate.core.family import Case
from paritygate.core.golden import Golden, LowPrecision
from paritygate.reference.build import at_once, with_peers
from paritygate.reference.capture import capture
from paritygate.reference.emulated import Emulated
from paritygate.reference.products import MATRIX_PRODUCTS, NARROW, Upcast, product_paths
from paritygate.reference.variants import _Rewritten
from paritygate.store.golden import GoldenStore

from limits import FLOORS_APART, GRADIENT_FLOORS_APART, Op, limit

Tensor = torch.Tensor
aten = torch.ops.aten
DTYPES = tuple(NARROW.values())


@contextmanager
def own_kernels() -> Iterator[None]:
    """Torch as it multiplies on a CPU without 16-bit products: oneDNN is not asked."""
    before = torch.backends.mkldnn.set_flags(_enabled=False)[0]
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=before)


@dataclass(frozen=True)
class Product:
    """One operation on operands of random shapes; `reach` is how it is written for the sum of the terms' sizes."""

    name: str
    run: Callable[..., Tensor]
    shapes: tuple[tuple[int | str, ...], ...]
    reach: Callable[..., Tensor] | None = None
    roundings: int = 0  # besides those of the sum over K

    def operands(self, K: int, draw: Callable[[tuple[int, ...]], Tensor]) -> list[Tensor]:
        return [draw(tuple(K if size == "K" else int(size) for size in shape)) for shape in self.shapes]


def unfolded(x: Tensor, w: Tensor) -> Tensor:
    return functional.linear(functional.unfold(x, kernel_size=w.shape[-1]).transpose(1, 2), w.flatten(1))


PRODUCTS = (
    Product("x @ y", lambda x, y: x @ y, ((17, "K"), ("K", 23))),
    Product("row @ y", lambda x, y: x @ y, ((1, "K"), ("K", 23))),
    Product("x @ y.T", lambda x, y: x @ y.T, ((17, "K"), (23, "K"))),
    Product("x.T @ y", lambda x, y: x.T @ y, (("K", 17), ("K", 23))),
    Product("linear", functional.linear, ((2, 9, "K"), (23, "K"))),
    Product("linear with a bias", functional.linear, ((17, "K"), (23, "K"), (23,)), roundings=2),
    Product("bmm", torch.bmm, ((3, 5, "K"), (3, "K", 7))),
    Product("bmm, transposed", lambda x, y: torch.bmm(x, y.mT), ((3, 5, "K"), (3, 7, "K"))),
    Product("einsum", lambda x, y: torch.einsum("bthd,bshd->bhts", x, y), ((2, 4, 3, "K"), (2, 5, 3, "K"))),
    Product(
        "addmm",
        lambda c, x, y: torch.addmm(c, x, y, beta=0.5, alpha=-1.25),
        ((5, 7), (5, "K"), ("K", 7)),
        lambda c, x, y: torch.addmm(c, x, y, beta=0.5, alpha=1.25),
        4,
    ),
    Product(
        "baddbmm",
        lambda c, x, y: torch.baddbmm(c, x, y, beta=0.5, alpha=-1.25),
        ((3, 5, 7), (3, 5, "K"), (3, "K", 7)),
        lambda c, x, y: torch.baddbmm(c, x, y, beta=0.5, alpha=1.25),
        4,
    ),
    Product("unfold", unfolded, ((2, "K", 4, 3), (6, "K", 2, 2))),
    Product("conv2d", functional.conv2d, ((2, "K", 4, 3), (6, "K", 2, 2), (6,)), roundings=2),
)
TERMS = {"unfold": 4, "conv2d": 4}  # of each product a channel


def per_product(test: Callable[..., None]) -> Callable[..., None]:
    named = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
    return named(pytest.mark.parametrize("dtype", DTYPES, ids=str)(test))


def normal(dtype: torch.dtype, seed: int = 0) -> Callable[[tuple[int, ...]], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def integers(dtype: torch.dtype, most: int, unit: float = 1.0) -> Callable[[tuple[int, ...]], Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda shape: (torch.randint(-most, most + 1, shape, generator=generator).double() * unit).to(dtype)


def both(run: Callable[..., Tensor], operands: list[Tensor]) -> tuple[Tensor, Tensor]:
    with own_kernels():
        own = run(*operands)
    with Upcast(operands[0].dtype):
        return own, run(*operands)


def outside(result: Tensor, product: Product, operands: list[Tensor], K: int, op: Op) -> int:
    """How many elements no float32 sum of the terms, within the limit of `op`, can be rounded to."""
    wide = [operand.double() for operand in operands]
    exact = product.run(*wide)
    size = (product.reach or product.run)(*(operand.abs() for operand in wide))
    reach = limit(op, "f32", K * TERMS.get(product.name, 1) + product.roundings) * size
    # Rounding is monotone: what is rounded once lies between the roundings of the two ends.
    low, high = ((exact + sign * reach).to(result.dtype) for sign in (-1, 1))
    return int((~((low <= result) & (result <= high))).sum())


def ulps(a: Tensor, b: Tensor) -> Tensor:
    """How many representable values two lie apart; 0 and -0 are one."""
    ordered = (
        torch.where(bits < 0, -32768 - bits, bits) for bits in (x.contiguous().view(torch.int16).int() for x in (a, b))
    )
    return (next(ordered) - next(ordered)).abs()


@per_product
@pytest.mark.parametrize("K", [1, 7, 64, 1000])
def test_both_are_a_float32_sum_rounded_once(product: Product, dtype: torch.dtype, K: int) -> None:
    operands = product.operands(K, normal(dtype))
    own, upcast = both(product.run, operands)
    assert own.dtype == upcast.dtype == dtype
    assert own.shape == upcast.shape and own.stride() == upcast.stride()
    assert outside(own, product, operands, K, "sum") == 0
    assert outside(upcast, product, operands, K, "sum") == 0


@per_product
def test_they_are_the_same_bits_where_no_order_can_matter(product: Product, dtype: torch.dtype) -> None:
    """Sums of integers below 2**24 are exact in float32, so that the one rounding is all there is."""
    operands = product.operands(200, integers(dtype, 15))
    own, upcast = both(product.run, operands)
    exact = product.run(*(operand.double() for operand in operands))
    assert torch.equal(own, upcast)
    assert torch.equal(upcast, exact.to(dtype))
    assert not torch.equal(upcast.double(), exact), "some of it is rounded, or nothing is shown"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_where_nothing_cancels_a_few_elements_are_one_ulp_apart(dtype: torch.dtype, record_property: Any) -> None:
    draw = normal(dtype)
    x, y = draw((96, 2048)).abs(), draw((2048, 96)).abs()
    own, upcast = both(torch.mm, [x, y])
    apart = ulps(own, upcast)
    record_property("differing", f"{int((apart > 0).sum())} of {apart.numel()}")
    assert int(apart.max()) <= 1
    # An element differs where the two sums lie on two sides of a middle: a share of an ulp as wide as their distance.
    distance = limit("sum", "f32", 2048) / torch.finfo(dtype).eps
    assert float((apart > 0).double().mean()) <= 2 * distance


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_value_half_way_between_two_goes_to_the_even_one(dtype: torch.dtype) -> None:
    one_past = 2.0 / torch.finfo(dtype).eps  # from here on every other integer is missing
    x = torch.tensor([[one_past, 1.0], [one_past + 2, 1.0], [-one_past, -1.0]]).to(dtype)
    own, upcast = both(torch.mm, [x, torch.ones(2, 1, dtype=dtype)])
    assert upcast.flatten().tolist() == [one_past, one_past + 4, -one_past]
    assert torch.equal(own, upcast)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_subnormals_are_kept(dtype: torch.dtype) -> None:
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    x, y = integers(dtype, 9, smallest)((16, 6)), integers(dtype, 2)((6, 16))
    own, upcast = both(torch.mm, [x, y])
    assert torch.equal(own, upcast)
    assert torch.equal(upcast.double(), x.double() @ y.double())
    assert int(((upcast != 0) & (upcast.abs() < torch.finfo(dtype).smallest_normal)).sum()) > 100


@per_product
def test_what_is_not_finite_is_the_same(product: Product, dtype: torch.dtype) -> None:
    operands = product.operands(24, normal(dtype))
    for place, value in enumerate((math.inf, -math.inf, math.nan, 0.0)):
        for operand in operands:
            operand.flatten()[place :: 41 + place] = value
    own, upcast = both(product.run, operands)
    exact = product.run(*(operand.double() for operand in operands))
    for result in (own, upcast):
        assert torch.equal(result.isnan(), exact.isnan())
        assert torch.equal(result == math.inf, exact == math.inf)
        assert torch.equal(result == -math.inf, exact == -math.inf)
    assert not upcast.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_the_dtype_cannot_hold_is_infinite(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    x = torch.tensor([[largest, largest / 2], [largest, 0.0], [-largest, -largest]]).to(dtype)
    own, upcast = both(torch.mm, [x, torch.ones(2, 1, dtype=dtype)])
    assert upcast.flatten().tolist() == [math.inf, largest, -math.inf]
    assert torch.equal(own, upcast)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_long_sums_whose_roundings_have_one_sign(dtype: torch.dtype) -> None:
    product, K = PRODUCTS[0], 8192
    third = torch.tensor(1 / 3).to(dtype)
    operands = product.operands(K, lambda shape: third.expand(shape).contiguous())
    own, upcast = both(product.run, operands)
    assert outside(own, product, operands, K, "any order") == 0
    assert outside(upcast, product, operands, K, "any order") == 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_long_sums_that_cancel(dtype: torch.dtype) -> None:
    product, K = PRODUCTS[0], 8192
    x, y = product.operands(K // 2, normal(dtype))
    operands = [torch.cat([x, -x], 1), torch.cat([y, y + normal(dtype, 1)(tuple(y.shape)) * 2**-6], 0)]
    own, upcast = both(product.run, operands)
    assert outside(own, product, operands, K, "sum") == 0
    assert outside(upcast, product, operands, K, "sum") == 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_product_that_rounds_twice_is_found(dtype: torch.dtype) -> None:
    operands = PRODUCTS[0].operands(64, normal(dtype))
    x, y = operands
    with Upcast(dtype):
        halves = x[:, :32] @ y[:32] + x[:, 32:] @ y[32:]
    assert outside(halves, PRODUCTS[0], operands, 64, "sum") > halves.numel() // 10


@pytest.mark.parametrize("mode", [Upcast, Emulated, _Rewritten])
def test_a_mode_does_not_bring_torchs_compiler_along(mode: type[TorchDispatchMode]) -> None:
    """Which the first operation inside would import, were it wrapped as modes are by default."""
    assert not hasattr(mode.__torch_dispatch__, "__wrapped__")


class Seen(TorchDispatchMode):
    """The operations that are given tensors of 16 bits, as they reach torch's kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow: set[Any] = set()
        self.wide: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        dtypes = {arg.dtype for arg in args if isinstance(arg, Tensor)}
        (self.narrow if dtypes & set(DTYPES) else self.wide).add(func)
        return func(*args, **(kwargs or {}))


def attention(x: Tensor, y: Tensor) -> Tensor:
    return torch.softmax(x @ y.mT, -1) @ y


EVERYTHING: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    **{p.name: (p.run, tuple(tuple(3 if n == "K" else int(n) for n in shape) for shape in p.shapes)) for p in PRODUCTS},
    "linear of rows of rows, with a bias": (functional.linear, ((2, 3, 5), (7, 5), (7,))),
    "matmul that is broadcast": (torch.matmul, ((2, 1, 3, 5), (4, 5, 7))),
    "attention": (attention, ((2, 3, 5), (2, 4, 5))),
    "tensordot": (lambda x, y: torch.tensordot(x, y, 1), ((2, 3, 5), (5, 7))),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", EVERYTHING)
def test_no_product_stays_narrow_forward_or_backward(name: str, dtype: torch.dtype) -> None:
    run, shapes = EVERYTHING[name]
    draw = normal(dtype)
    operands = [draw(shape).requires_grad_() for shape in shapes]
    for seen, mode in (Seen(), Upcast(dtype)), (Seen(), torch.no_grad()):
        with seen, mode:
            result = run(*operands)
            if result.requires_grad:
                result.sum().backward()
        upcast = isinstance(mode, Upcast)
        assert bool(seen.wide & set(MATRIX_PRODUCTS)) == upcast
        assert bool(seen.narrow & set(MATRIX_PRODUCTS)) != upcast
    with Seen() as seen, Upcast(dtype), torch.inference_mode():
        assert torch.equal(run(*operands), result)
    assert not seen.narrow & {*MATRIX_PRODUCTS, aten.linear.default, aten.matmul.default}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_are_products_of_the_same_kind(dtype: torch.dtype) -> None:
    draw = integers(dtype, 7)
    x, y = draw((24, 12)), draw((12, 18))

    def gradients() -> list[Tensor]:
        operands = [tensor.clone().requires_grad_() for tensor in (x, y)]
        (operands[0] @ operands[1]).backward(torch.full((24, 18), 3.0, dtype=dtype))
        return [operand.grad for operand in operands if operand.grad is not None]

    with own_kernels():
        own = gradients()
    with Upcast(dtype):
        upcast = gradients()
    assert len(own) == 2 and all(map(torch.equal, own, upcast))


def test_other_dtypes_are_left_alone() -> None:
    x = torch.ones(3, 3)
    with Seen() as seen, Upcast(torch.bfloat16):
        assert (x @ x).dtype == torch.float32
        assert (x.half() @ x.half()).dtype == torch.float16
    assert aten.mm.default in seen.narrow


def test_the_path_is_asked_of_the_cpu_and_can_be_chosen() -> None:
    assert product_paths() == product_paths("auto")
    assert product_paths().keys() == {"bfloat16", "float16"}
    for chosen in ("native", "upcast"):
        assert product_paths(chosen) == {"bfloat16": chosen, "float16": chosen}


def test_a_cpu_without_onednn_is_upcast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert product_paths() == {"bfloat16": "upcast", "float16": "upcast"}


def captured(case: Case, suite: str, store: GoldenStore, path: LowPrecision) -> tuple[Golden, str]:
    said: list[str] = []
    (golden,) = capture([case], suite, store, said.append, low_precision=path, policies=at_once(with_peers()))
    return golden, said[-1]


def test_floors_of_both_paths_agree(tmp_path: Path) -> None:
    """Every floor of tiny-scout: of its modules alone, of the chain from tokens, of the gradients of its loss."""
    case = Case("llama4", "tiny-scout", "train")
    with own_kernels():
        native, said_of_native = captured(case, "text", GoldenStore(tmp_path / "native"), "native")
        upcast, said_of_upcast = captured(case, "text", GoldenStore(tmp_path / "upcast"), "upcast")
    for golden, said, path in ((native, said_of_native, "native"), (upcast, said_of_upcast, "upcast")):
        assert golden.provenance["low_precision_matmul"] == {"bfloat16": path, "float16": path}
        assert said.endswith(f"ports captured, bfloat16 products {path}, float16 products {path}")
    of_native, of_upcast = floors(native), floors(upcast)
    assert of_native.keys() == of_upcast.keys()
    assert {mode for _, mode, _, _ in of_native} == set(Mode)
    # Where one is 0 the other must be.
    ratios = {key: of_upcast[key] / floor for key, floor in of_native.items() if of_upcast[key] != floor}
    assert {policy for _, _, policy, _ in ratios} <= {"bf16", "f16"}, "what is not of 16 bits is not touched"
    assert {mode for _, mode, _, _ in ratios} == set(Mode), "a mode in which nothing was computed in another order"
    forward = {key: abs(ratio - 1) for key, ratio in ratios.items() if key[1] != Mode.GRADIENT}
    assert max(forward.values()) <= FLOORS_APART, max(forward, key=forward.__getitem__)
    for policy in ("bf16", "f16"):
        of_policy = [key for key in of_native if key[1:] == (Mode.GRADIENT, policy, "rel_l2")]
        mean = sum(abs(math.log(ratios.get(key, 1.0))) for key in of_policy) / len(of_policy)
        assert mean <= GRADIENT_FLOORS_APART, (policy, mean)
    assert [(port.address, port.tensor, port.dtypes) for port in native.ports] == [
        (port.address, port.tensor, port.dtypes) for port in upcast.ports
    ]


def floors(golden: Golden) -> dict[tuple[str, str, str, str], float]:
    return {
        (port.address, mode, policy, metric): floor
        for port in golden.ports
        for mode, policies in port.floors.items()
        for policy, metrics in policies.items()
        for metric, floor in metrics.items()
    }
