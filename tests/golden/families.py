"""The rows of make.py: one tiny model for each folder of goldens. What is general stands in make.py.

Sizes are odd on purpose: no width is a multiple of a vector, hidden and expert widths differ, more
experts are chosen than two where the type allows it, and there are more groups than are kept.
"""

from dataclasses import dataclass, field
from typing import Callable

#: What every causal model needs besides its mixture: one layer or two, one small head, few words.
TINY = dict(
    vocab_size=8,
    num_hidden_layers=2,
    num_attention_heads=1,
    num_key_value_heads=1,
    head_dim=4,
    max_position_embeddings=16,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)


@dataclass(frozen=True)
class Family:
    """A folder: the model it is cut from, the block that is run, the tensors that are kept."""

    model: str
    """Class of the whole model in transformers."""
    config: dict
    block: str
    """Path of the mixture inside the model."""
    keep: str
    """The tensors kept are those whose name on disk begins so."""
    router: str = "gate"
    """Path of the router inside the block."""
    dtype: str = "f32"
    """Element type of the file: f32, bf16 or f16."""
    wide: str = r"correction_bias|expert_bias"
    """Pattern of the tensors that stay f32 in a narrow file, as they do in published ones."""
    gains: dict = field(default_factory=dict)
    """Pattern of names to a factor on their random values."""
    shards: int = 1
    forward: Callable | None = None
    """From (modules, x, ids) to y, where that is more than calling the block. `modules(path)` finds a
    module beside the block."""
    chosen: str = "index"
    """What of the router says which experts were chosen; see `chosen` in make.py."""
    drop: str | None = None
    """Pattern of tensors that save_pretrained writes and published files lack."""
    table: bool = False
    """The block looks experts up by token id: the cases have `ids`."""
    seed: int = 0
    """Changed where a choice would hang by a thread; make.py says so."""


def tiny(**more):
    """A config of a causal model."""
    return {**TINY, **more}


FAMILIES = {
    "mixtral": Family(
        "MixtralForCausalLM",
        tiny(hidden_size=17, intermediate_size=11, num_local_experts=7, num_experts_per_tok=3),
        block="model.layers.1.mlp",
        keep="model.layers.1.block_sparse_moe.",
        dtype="bf16",
        shards=3,
    ),
    "qwen2_moe": Family(
        "Qwen2MoeForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, moe_intermediate_size=7, shared_expert_intermediate_size=11,
             num_experts=9, num_experts_per_tok=4, norm_topk_prob=False),
        block="model.layers.1.mlp",
        keep="model.layers.1.mlp.",
    ),
    "qwen3_moe": Family(
        "Qwen3MoeForCausalLM",
        tiny(hidden_size=18, intermediate_size=9, moe_intermediate_size=7, num_experts=11,
             num_experts_per_tok=3, norm_topk_prob=True),
        block="model.layers.1.mlp",
        keep="model.layers.1.mlp.",
    ),
    "olmoe": Family(
        "OlmoeForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, num_experts=10, num_experts_per_tok=3, norm_topk_prob=False),
        block="model.layers.1.mlp",
        keep="model.layers.1.mlp.",
    ),
    "deepseek_v2": Family(
        "DeepseekV2ForCausalLM",
        tiny(hidden_size=15, intermediate_size=9, moe_intermediate_size=7, n_routed_experts=12,
             n_shared_experts=2, num_experts_per_tok=3, n_group=4, topk_group=2,
             topk_method="group_limited_greedy", routed_scaling_factor=2.5, first_k_dense_replace=1,
             q_lora_rank=4, kv_lora_rank=4, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4),
        block="model.layers.1.mlp",
        keep="model.layers.1.mlp.",
    ),
    "deepseek_v3": Family(
        "DeepseekV3ForCausalLM",
        tiny(hidden_size=17, intermediate_size=9, moe_intermediate_size=7, n_routed_experts=15,
             n_shared_experts=1, num_experts_per_tok=4, n_group=5, topk_group=2, norm_topk_prob=True,
             routed_scaling_factor=2.5, first_k_dense_replace=1, q_lora_rank=4, kv_lora_rank=4,
             qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4),
        block="model.layers.1.mlp",
        keep="model.layers.1.mlp.",
        dtype="bf16",
    ),
    "gpt_oss": Family(
        "GptOssForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, num_local_experts=7, num_experts_per_tok=3),
        block="model.layers.1.mlp",
        keep="model.layers.1.mlp.",
        router="router",
        dtype="bf16",
        gains={r"gate_up_proj$": 4.0},
    ),
    "llama4_text": Family(
        "Llama4ForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, intermediate_size_mlp=8, num_local_experts=5,
             num_experts_per_tok=2, interleave_moe_layer_step=2),
        block="model.layers.1.feed_forward",
        keep="model.layers.1.feed_forward.",
        router="router",
        chosen="scores",
    ),
}
