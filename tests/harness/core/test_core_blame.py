"""What a blame says to a person, and when a planted fault counts as found."""

from dataclasses import replace

from paritygate.core.blame import Blame, BlamedFault, BlamedLine, Parting
from paritygate.core.run import Run, RunInfo

SOFTMAX = BlamedLine("attention.py:55", "attention_weights", "exp in bfloat16", 0.62, 0.001)
CAST = BlamedLine("linear.py:62", "Linear.__call__", "rounded to bfloat16", 0.3, 0.0039)
TABLE = BlamedLine("rope.py:63", "_cos_and_sin", "constant in float32", 0.08, 0.0038, "rope.py:110")
BLAME = Blame(
    "c", "bf16/single/cpu", "isolated", "layers.0.attn:out", 0.004, 0.004, 1e-16, (SOFTMAX, CAST, TABLE),
    raised_to="float32",
)  # fmt: skip


def test_a_blame_says_its_first_line_and_what_raising_it_gives() -> None:
    assert BLAME.text == (
        "attention.py:55 (attention_weights) exp in bfloat16: 62% of the drift, 0.004, 0.001 with it in float32"
    )
    assert TABLE.text == "rope.py:63 (_cos_and_sin) constant in float32, from rope.py:110"
    assert replace(BLAME, lines=()).text == "no line rounds anything"
    assert replace(BLAME, reason="a choice is not rounded").text == "no line is blamed: a choice is not rounded"


def test_a_parting_says_the_line_first_and_what_lies_between() -> None:
    parting = Parting(
        "layers.0.attn:inner.probs", "attention.py:55", "attention_weights", 0.26, "layers.0.attn:inner.k_rope",
        ("attention.py:46", "attention.py:47", "attention.py:55"), 18, ("layers.0.attn:inner.key",),
    )  # fmt: skip
    assert replace(BLAME, parting=parting).text == (
        "attention.py:55 (attention_weights) gives layers.0.attn:inner.probs, the first value that parts (0.26), after"
        " layers.0.attn:inner.k_rope, which agrees; attention.py:46 … attention.py:55: 18 equations, from"
        " layers.0.attn:inner.key"
    )
    alone = replace(parting, after="", between=("attention.py:55",), equations=1, reads=())
    assert alone.text.endswith("parts (0.26); attention.py:55: 1 equation")


def test_the_best_line_to_raise_is_one_that_gives_something() -> None:
    assert BLAME.best == SOFTMAX
    assert replace(BLAME, lines=(CAST, replace(TABLE, raised=0.00399))).best == CAST
    assert replace(BLAME, lines=(replace(CAST, raised=0.00399), replace(TABLE, raised=None))).best is None


def test_a_planted_line_is_found_where_it_is_first_or_gives_most() -> None:
    def fault(*planted: str, blame: Blame | None = BLAME) -> BlamedFault:
        return BlamedFault("f", "bf16/single/cpu", planted, blame)

    assert (fault("attention.py:55").place, fault("attention.py:55").is_right) == (1, True)
    assert (fault("rope.py:110").place, fault("rope.py:110").is_right) == (3, False)
    assert (fault("norms.py:1").place, fault("norms.py:1").is_right) == (0, False)
    behind = replace(BLAME, lines=(replace(CAST, share=0.7), SOFTMAX))
    assert (fault("attention.py:55", blame=behind).place, fault("attention.py:55", blame=behind).is_right) == (2, True)
    assert not fault("attention.py:55", blame=None).is_right
    assert fault("x.py:1", blame=replace(BLAME, lines=(), reason="the backward pass is not taken apart")).is_right


def test_a_run_keeps_its_blames(tmp_path) -> None:
    run = Run(tmp_path, RunInfo("r", "tiny", (), (), (), "", (), {}, {}))
    assert run.blames() == []
    run.save_blames([BLAME, replace(BLAME, parting=Parting("a:out", "a.py:1", "f", 1.0))])
    assert run.blames()[0] == BLAME and run.blames()[1].parting == Parting("a:out", "a.py:1", "f", 1.0)
