"""Known ways to get Llama 4's text model wrong, attention and masks among them: see `llama4_attention_hypotheses`."""

from paritygate.catalog.families.llama4_attention_hypotheses import ATTENTION_HYPOTHESES, HF, rows
from paritygate.catalog.families.llama4_mask_hypotheses import MASK_HYPOTHESES
from paritygate.core.hypothesis import Hypothesis

_OURS = "paritygate.reference.llama4_text_hypotheses:"
_NORM = ("*norm",)
_QK_NORM = ("layers.*.attn", "layers.*.qk_norm")
_MIXTURE = ("layers.*.moe", "layers.*.moe.experts")
_ROUTER = ("layers.*.moe.router",)
_EXPERTS = ("layers.*.moe.experts",)
_MLP = ("layers.*.mlp", "layers.*.moe.shared")
_LAYER = ("layers.*",)

_NORMS = (
    *rows(
        HF + "Llama4TextRMSNorm.forward",
        _NORM,
        ("norm missing", "does not norm", _OURS + "norm_missing"),
        ("norm gain missing", "leaves out the norms' gains", _OURS + "norm_gain_missing"),
        ("norm gain from one", "multiplies by one plus the norms' gains", _OURS + "norm_gain_from_one"),
        ("norm around the mean", "takes the mean off before it norms", _OURS + "norm_around_the_mean"),
    ),
    *rows(
        HF + "Llama4TextRMSNorm._norm",
        _NORM,
        ("norm eps × 10", "has ten times the eps in the RMS norms", _OURS + "eps_times_10"),
        ("norm eps ÷ 10", "has a tenth of the eps in the RMS norms", _OURS + "eps_by_10"),
        ("norm without eps", "has no eps in the RMS norms", _OURS + "eps_missing"),
        ("norm eps outside the root", "adds the eps to the root, not under it", _OURS + "eps_outside_the_root"),
        ("norm by the sum", "divides by the root of the sum of squares, not of their mean", _OURS + "norm_by_sum"),
    ),
    *rows(
        HF + "Llama4TextL2Norm.forward",
        _QK_NORM,
        ("qk norm missing", "does not norm queries and keys", _OURS + "norm_missing"),
        ("qk norm over all heads", "norms all heads of a token together", _OURS + "norm_over_all_heads"),
        needs={"use_qk_norm": True},
    ),
    *rows(
        HF + "Llama4TextL2Norm._norm",
        _QK_NORM,
        ("qk norm by the sum", "divides queries and keys by a root of sums, not means", _OURS + "norm_by_sum"),
        ("qk norm eps × 10", "has ten times the eps in the qk norm", _OURS + "eps_times_10"),
        ("qk norm eps ÷ 10", "has a tenth of the eps in the qk norm", _OURS + "eps_by_10"),
        ("qk norm without eps", "has no eps in the qk norm", _OURS + "eps_missing"),
        needs={"use_qk_norm": True},
    ),
    Hypothesis(
        "eps outside the root in every norm",
        "adds the eps to the root, not under it, in every norm",
        _NORM,
        functions={HF + f"Llama4Text{norm}._norm": _OURS + "eps_outside_the_root" for norm in ("RMSNorm", "L2Norm")},
    ),
    Hypothesis("eps × 10 in every norm", "has ten times the eps in every norm", _NORM, scaled={"rms_norm_eps": 10.0}),
    Hypothesis("eps ÷ 10 in every norm", "has a tenth of the eps in every norm", _NORM, scaled={"rms_norm_eps": 0.1}),
    *rows(
        HF + "Llama4TextModel.forward",
        ("norm",),
        ("final norm missing", "does not norm before the head", _OURS + "final_norm_missing"),
    ),
    Hypothesis(
        "norms exchanged",
        "has the weights of a layer's two norms in each other's place",
        ("layers.*norm",),
        exchanged=(("model.layers.*", ".input_layernorm.", ".post_attention_layernorm."),),
    ),
)

_NUMBERS = (
    Hypothesis(
        "layers one layer early",
        "has in each layer the weights of the next",
        _LAYER,
        needs={"num_hidden_layers": 4},
        exchanged=tuple(("model.layers.*", f".layers.{n}.", f".layers.{n + 1}.") for n in range(3)),
    ),
    Hypothesis("weights through 8 bits", "has weights rounded to 8 bits", ("embed",), weights={"*": "8 bits"}),
)

_ROUTING = (
    *rows(
        HF + "Llama4Router.forward",
        _ROUTER,
        ("softmax for sigmoid", "takes the softmax of all experts for their scores", _OURS + "router_softmax"),
        ("softmax of the chosen", "takes the softmax of the chosen for scores", _OURS + "router_softmax_of_chosen"),
        ("scores normalised", "makes the scores of the chosen add up to one", _OURS + "router_normalised"),
        ("scores missing", "gives every chosen expert a score of one", _OURS + "router_without_score"),
        ("logits for scores", "takes the logits for the scores", _OURS + "router_with_logits"),
        ("every expert scored", "gives experts a score that are not chosen", _OURS + "router_of_all"),
        ("others scored one half", "scores what is not chosen one half, not zero", _OURS + "router_others_at_one_half"),
        ("least experts chosen", "chooses the experts of the smallest logits", _OURS + "router_of_the_least"),
    ),
    Hypothesis("one expert more", "chooses one expert more", _ROUTER, shifted={"num_experts_per_tok": 1}),
    Hypothesis(
        "one expert fewer",
        "chooses one expert fewer",
        _ROUTER,
        needs={"num_experts_per_tok": 2},
        shifted={"num_experts_per_tok": -1},
    ),
    Hypothesis(
        "router in reverse",
        "has the router's experts in the reverse order",
        _ROUTER,
        weights={"*.router.weight": "reverse"},
    ),
)

_EXPERT = (
    *rows(
        HF + "Llama4TextMoe.forward",
        _MIXTURE,
        ("score after the expert", "scales an expert's result, not its input", _OURS + "score_after_expert"),
        ("score before and after the expert", "scales an expert's result too", _OURS + "score_before_and_after"),
        ("score used nowhere", "scales neither input nor result of an expert", _OURS + "score_nowhere"),
        ("shared expert missing", "leaves out the shared expert", _OURS + "shared_missing"),
        ("shared expert twice", "adds the shared expert twice", _OURS + "shared_twice"),
        ("routed experts missing", "leaves out the routed experts", _OURS + "routed_missing"),
        ("routed experts twice", "adds the routed experts twice", _OURS + "routed_twice"),
        ("experts at capacity", "drops tokens beyond 1.25 of an expert's share", _OURS + "experts_at_capacity"),
        ("experts by token", "gives the experts rows by token, not by expert", _OURS + "experts_by_token"),
    ),
    *rows(
        HF + "Llama4TextMoe.forward",
        _MIXTURE,
        ("routed experts averaged", "averages the chosen experts, where they are added", _OURS + "routed_averaged"),
        needs={"num_experts_per_tok": 2},
    ),
    *(
        Hypothesis(name, says, _EXPERTS, weights={f"*.experts.{weight}": change})
        for name, says, weight, change in (
            ("expert gate and up swapped", "takes the experts' up for their gate", "gate_up_proj", "swap halves"),
            ("expert gate and up interleaved", "takes columns of gate_up in turn", "gate_up_proj", "halves from pairs"),
            ("expert down in reverse", "has the experts' down in the reverse order", "down_proj", "reverse"),
            ("experts in reverse", "has the experts in the reverse order", "*_proj", "reverse"),
            ("expert gate and up reshaped", "reshapes gate_up, not transposes it", "gate_up_proj", "reshape"),
            ("expert down reshaped", "reshapes the experts' down, not transposes it", "down_proj", "reshape"),
        )
    ),
    *rows(
        HF + "Llama4TextMLP.forward",
        _MLP,
        ("gate and up swapped", "activates up, not the gate", _OURS + "mlp_gate_on_up"),
        ("activation missing", "leaves out the activation", _OURS + "mlp_without_activation"),
        ("product activated", "activates the product of gate and up", _OURS + "mlp_activated_product"),
        ("gate and up added", "adds gate and up", _OURS + "mlp_added"),
        ("up missing", "leaves out up", _OURS + "mlp_without_up"),
    ),
    *rows(
        "transformers.activations:SiLUActivation.forward",
        (*_MLP, *_EXPERTS),
        ("gelu for silu", "activates by gelu", _OURS + "gelu_for_silu"),
        ("gelu by tanh for silu", "activates by gelu approximated by tanh", _OURS + "gelu_by_tanh_for_silu"),
        ("gelu by sigmoid for silu", "activates by gelu approximated by a sigmoid", _OURS + "gelu_by_sigmoid_for_silu"),
        ("relu for silu", "activates by relu", _OURS + "relu_for_silu"),
        ("sigmoid for silu", "activates by a sigmoid alone", _OURS + "sigmoid_for_silu"),
    ),
)

_STREAM = (
    *rows(
        HF + "Llama4TextDecoderLayer.forward",
        _LAYER,
        ("attention residual missing", "leaves out attention's residual", _OURS + "attention_residual_missing"),
        ("attention residual normed", "adds attention to what is normed", _OURS + "attention_residual_of_normed"),
        ("feed-forward residual missing", "leaves out the feed-forward's residual", _OURS + "mlp_residual_missing"),
        ("feed-forward residual normed", "adds the feed-forward to what is normed", _OURS + "mlp_residual_of_normed"),
        ("one norm for both", "norms what it feeds forward as what it attends to", _OURS + "one_norm_for_both"),
        ("feed-forward beside attention", "feeds it what went into attention", _OURS + "mlp_beside_attention"),
    ),
    *rows(
        "torch.nn:Embedding.forward",
        ("embed",),
        ("embeddings scaled", "multiplies embeddings by the root of their width", _OURS + "embeddings_scaled"),
    ),
    *rows(
        HF + "Llama4TextModel.forward",
        ("layers.0", "layers.0.input_norm"),
        ("stream scaled", "multiplies what enters the first layer by the root of its width", _OURS + "stream_scaled"),
    ),
    Hypothesis(
        "head tied",
        "takes the embedding for the head",
        ("lm_head",),
        copied={"lm_head.weight": "model.embed_tokens.weight"},
    ),
    *rows(
        HF + "Llama4ForCausalLM.forward",
        ("loss",),
        ("labels not shifted", "compares a token's logits with itself", _OURS + "labels_not_shifted"),
        (
            "labels shifted twice",
            "compares logits with the token after the next",
            _OURS + "labels_shifted_twice",
        ),
        (
            "loss of rows averaged",
            "averages the rows' losses, long and short ones alike",
            _OURS + "loss_of_rows_averaged",
        ),
        ("loss over all places", "divides the loss by all places, padding too", _OURS + "loss_over_all_places"),
        ("labels not shifted but last", "does so but for the last token", _OURS + "labels_not_shifted_but_last"),
    ),
    *rows(
        "transformers.loss.loss_utils:fixed_cross_entropy",
        ("loss",),
        ("loss of capped logits", "caps logits at 30 for the loss", _OURS + "loss_of_capped_logits"),
        ("loss summed", "sums the loss over tokens", _OURS + "loss_summed"),
        ("loss over all tokens", "divides the loss by all tokens, ignored ones too", _OURS + "loss_over_all_labels"),
    ),
)

TEXT_HYPOTHESES = (*ATTENTION_HYPOTHESES, *MASK_HYPOTHESES, *_NORMS, *_ROUTING, *_EXPERT, *_STREAM, *_NUMBERS)

CLASSIFIER_HYPOTHESES = (
    *TEXT_HYPOTHESES,
    *rows(
        "transformers.modeling_layers:GenericForSequenceClassification.forward",
        ("scored",),
        ("scored at the last place", "scores the last place, padding or not", _OURS + "scored_at_the_last_place"),
        ("scored by number of tokens", "takes their number for the last's place", _OURS + "scored_by_number_of_tokens"),
        ("scored before padding", "scores the token before the first padding", _OURS + "scored_before_padding"),
        ("scored on the mean", "scores the mean of all tokens", _OURS + "scored_on_the_mean"),
    ),
)
