"""The rows of make.py: one tiny model for each folder of goldens. What is general stands in make.py.

Sizes are odd on purpose: no width is a multiple of a vector, hidden and expert widths differ, more
experts are chosen than two where the type allows it, and there are more groups than are kept.
"""

from dataclasses import dataclass, field
from typing import Callable

import torch

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


def by_index(outputs):
    """The router returns logits, weights and indices [T, K], in this or another order."""
    (index,) = [o for o in outputs if not o.dtype.is_floating_point]
    return by_mask(torch.zeros(index.shape[0], outputs[0].shape[-1]).scatter_(1, index, 1))


def by_logits(k):
    """The router returns logits, last or alone; the k largest are chosen outside of it."""
    def chosen(outputs):
        logits = outputs if isinstance(outputs, torch.Tensor) else outputs[-1]
        return by_mask(torch.zeros_like(logits).scatter_(1, logits.topk(k).indices, 1))
    return chosen


def by_mask(mask):
    """What is not zero was chosen."""
    return (mask != 0).reshape(-1, mask.shape[-1])


@dataclass(frozen=True)
class Family:
    """A folder: the model it is cut from, the block that is run, the tensors that are kept."""

    model: str
    """Class of the whole model in transformers."""
    config: dict
    block: str
    """Path of the mixture inside the model; of the layer, where the mixture has no module of its own."""
    keep: str
    """Pattern of the beginning of the names on disk that are kept."""
    router: str = "gate"
    """Path of the router inside the block."""
    chosen: Callable = by_index
    """From what the router returned to bool [T, E]: the experts that ran."""
    forward: Callable = lambda block, x, ids: block(x)
    """From x [1, T, H] to what the mixture gives, where that is more than calling the block."""
    dtype: str = "f32"
    """Element type of the file: f32, bf16 or f16."""
    wide: str = r"correction_bias|expert_bias"
    """Pattern of the tensors that stay f32 in a narrow file, as they do in published ones."""
    gains: dict = field(default_factory=dict)
    """Pattern of names to a factor on their random values."""
    shards: int = 1
    drop: str | None = None
    """Pattern of tensors that save_pretrained writes and published files lack."""
    rename: tuple = ()
    """Pattern and replacement for a name that published files spell otherwise."""
    table: bool = False
    """Experts are looked up by token id: the cases have `ids` i32[257]."""
    mxfp4: bool = False
    """The experts' matrices are stored as MXFP4 blocks and scales, as in published files."""
    older: bool = False
    """Made by the second environment."""
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
        keep=r"model\.layers\.1\.block_sparse_moe\.",
        dtype="bf16",
        shards=3,
    ),
    "qwen2_moe": Family(
        "Qwen2MoeForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, moe_intermediate_size=7, shared_expert_intermediate_size=11,
             num_experts=9, num_experts_per_tok=4, norm_topk_prob=False),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "qwen3_moe": Family(
        "Qwen3MoeForCausalLM",
        tiny(hidden_size=18, intermediate_size=9, moe_intermediate_size=7, num_experts=11,
             num_experts_per_tok=3, norm_topk_prob=True),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "olmoe": Family(
        "OlmoeForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, num_experts=10, num_experts_per_tok=3, norm_topk_prob=False),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "deepseek_v2": Family(
        "DeepseekV2ForCausalLM",
        tiny(hidden_size=15, intermediate_size=9, moe_intermediate_size=7, n_routed_experts=12,
             n_shared_experts=2, num_experts_per_tok=3, n_group=4, topk_group=2,
             topk_method="group_limited_greedy", routed_scaling_factor=2.5, first_k_dense_replace=1,
             q_lora_rank=4, kv_lora_rank=4, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "deepseek_v3": Family(
        "DeepseekV3ForCausalLM",
        tiny(hidden_size=17, intermediate_size=9, moe_intermediate_size=7, n_routed_experts=15,
             n_shared_experts=1, num_experts_per_tok=4, n_group=5, topk_group=2, norm_topk_prob=True,
             routed_scaling_factor=2.5, first_k_dense_replace=1, q_lora_rank=4, kv_lora_rank=4,
             qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        dtype="bf16",
    ),
    "gpt_oss": Family(
        "GptOssForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, num_local_experts=7, num_experts_per_tok=3),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        router="router",
        dtype="bf16",
        gains={r"gate_up_proj$": 4.0},
    ),
    "llama4_text": Family(
        "Llama4ForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, intermediate_size_mlp=8, num_local_experts=5,
             num_experts_per_tok=2, interleave_moe_layer_step=2),
        block="model.layers.1.feed_forward",
        keep=r"model\.layers\.1\.feed_forward\.",
        router="router",
        chosen=lambda outputs: by_mask(outputs[0]),
    ),
    "qwen3_next": Family(
        "Qwen3NextForCausalLM",
        tiny(hidden_size=15, intermediate_size=9, moe_intermediate_size=7, shared_expert_intermediate_size=5,
             num_experts=10, num_experts_per_tok=4, norm_topk_prob=True, linear_key_head_dim=4,
             linear_value_head_dim=4, linear_num_key_heads=1, linear_num_value_heads=1,
             layer_types=["linear_attention", "full_attention"]),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        dtype="bf16",
    ),
    "flex_olmo": Family(
        "FlexOlmoForCausalLM",
        tiny(hidden_size=13, intermediate_size=11, num_experts=7, num_experts_per_tok=5, norm_topk_prob=False),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "glm4_moe": Family(
        "Glm4MoeForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, moe_intermediate_size=7, n_routed_experts=11,
             n_shared_experts=1, num_experts_per_tok=4, n_group=1, topk_group=1, norm_topk_prob=True,
             routed_scaling_factor=1.5, first_k_dense_replace=1),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "dots1": Family(
        "Dots1ForCausalLM",
        tiny(hidden_size=15, intermediate_size=9, moe_intermediate_size=7, n_routed_experts=9,
             n_shared_experts=2, num_experts_per_tok=3, n_group=1, topk_group=1, norm_topk_prob=True,
             routed_scaling_factor=2.5, first_k_dense_replace=1),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        dtype="f16",
    ),
    "granitemoe": Family(
        "GraniteMoeForCausalLM",
        tiny(hidden_size=13, intermediate_size=7, num_local_experts=9, num_experts_per_tok=4),
        block="model.layers.1.block_sparse_moe",
        keep=r"model\.layers\.1\.block_sparse_moe\.",
        router="router",
    ),
    "granitemoeshared": Family(
        "GraniteMoeSharedForCausalLM",
        tiny(hidden_size=13, intermediate_size=7, shared_intermediate_size=11, num_local_experts=7,
             num_experts_per_tok=3),
        block="model.layers.1",
        keep=r"model\.layers\.1\.(block_sparse_moe|shared_mlp)\.",
        router="block_sparse_moe.router",
        forward=lambda layer, x, ids: layer.block_sparse_moe(x) + layer.shared_mlp(x),
    ),
    "phimoe": Family(
        "PhimoeForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, num_local_experts=7, num_experts_per_tok=2),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.block_sparse_moe\.",
        router="router",
        gains={"router": 0.2},
    ),
    "jamba": Family(
        "JambaForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, num_experts=7, num_experts_per_tok=3, expert_layer_period=2,
             expert_layer_offset=1, attn_layer_period=1, attn_layer_offset=0, use_mamba_kernels=False),
        block="model.layers.1.feed_forward",
        keep=r"model\.layers\.1\.feed_forward\.",
        router="router",
    ),
    "ernie4_5_moe": Family(
        "Ernie4_5_MoeForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, moe_intermediate_size=7, moe_num_experts=9, moe_k=3,
             moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_end_index=1),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        dtype="bf16",
        wide=r"correction_bias|mlp\.gate\.weight|^gate\.weight",
        gains={"correction_bias": 0.3},
    ),
    "minimax": Family(
        "MiniMaxForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, num_local_experts=7, num_experts_per_tok=3),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.block_sparse_moe\.",
    ),
    "minimax_m2": Family(
        "MiniMaxM2ForCausalLM",
        tiny(hidden_size=15, intermediate_size=7, num_local_experts=9, num_experts_per_tok=4),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.block_sparse_moe\.",
    ),
    "hunyuan_v1_moe": Family(
        "HunYuanMoEV1ForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, num_experts=7, moe_topk=[2, 3]),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "lfm2_moe": Family(
        "Lfm2MoeForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, moe_intermediate_size=7, num_experts=9, num_experts_per_tok=3,
             num_dense_layers=1, use_expert_bias=True, norm_topk_prob=True, routed_scaling_factor=1.5,
             layer_types=["full_attention", "full_attention"]),
        block="model.layers.1.feed_forward",
        keep=r"model\.layers\.1\.feed_forward\.",
        dtype="bf16",
    ),
    "jetmoe": Family(
        "JetMoeForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, num_local_experts=7, num_experts_per_tok=3),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        router="router",
        chosen=by_logits(3),
    ),
    "dbrx": Family(
        "DbrxForCausalLM",
        dict(vocab_size=8, d_model=14, n_heads=1, n_layers=2, max_seq_len=16, attn_config={"kv_n_heads": 1, "rope_theta": 1e4},
             ffn_config={"hidden_size": 14, "ffn_hidden_size": 9, "moe_num_experts": 7, "moe_top_k": 3,
                         "moe_normalize_expert_weights": 1.0, "ffn_act_fn": {"name": "silu"}}),
        block="transformer.blocks.1.ffn",
        keep=r"transformer\.blocks\.1\.ffn\.",
        router="router",
        chosen=by_logits(3),
        dtype="bf16",
    ),
    "dbrx_norm2": Family(
        "DbrxForCausalLM",
        dict(vocab_size=8, d_model=13, n_heads=1, n_layers=2, max_seq_len=16, attn_config={"kv_n_heads": 1, "rope_theta": 1e4},
             ffn_config={"hidden_size": 13, "ffn_hidden_size": 7, "moe_num_experts": 5, "moe_top_k": 3,
                         "moe_normalize_expert_weights": 2.0, "ffn_act_fn": {"name": "silu"}}),
        block="transformer.blocks.1.ffn",
        keep=r"transformer\.blocks\.1\.ffn\.",
        router="router",
        chosen=by_logits(3),
    ),
    "longcat_flash": Family(
        "LongcatFlashForCausalLM",
        dict(vocab_size=8, num_layers=2, num_attention_heads=1, num_key_value_heads=1, head_dim=4,
             hidden_size=15, ffn_hidden_size=9, expert_ffn_hidden_size=7, n_routed_experts=7, zero_expert_num=4,
             moe_topk=4, routed_scaling_factor=3.0, q_lora_rank=4, kv_lora_rank=4, qk_nope_head_dim=4,
             qk_rope_head_dim=4, v_head_dim=4, max_position_embeddings=16),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        router="router",
        gains={"correction_bias": 0.2},
        drop=r"experts\.([789]|10)\.",
    ),
    "nemotron_h": Family(
        "NemotronHForCausalLM",
        {**tiny(hidden_size=17, intermediate_size=9, moe_intermediate_size=7, moe_latent_size=11,
                moe_shared_expert_intermediate_size=9, n_routed_experts=9, num_experts_per_tok=3, n_group=1,
                topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5, use_mamba_kernels=False,
                layers_block_type=["full_attention", "moe"]), "num_hidden_layers": None},
        block="model.layers.1.mixer",
        keep=r"backbone\.layers\.1\.mixer\.",
        dtype="bf16",
    ),
    "mistral4": Family(
        "Mistral4ForCausalLM",
        tiny(hidden_size=15, intermediate_size=9, moe_intermediate_size=7, n_routed_experts=12,
             n_shared_experts=1, num_experts_per_tok=3, n_group=4, topk_group=2, norm_topk_prob=True,
             routed_scaling_factor=1.5, first_k_dense_replace=0, q_lora_rank=4, kv_lora_rank=4,
             qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "switch_transformers": Family(
        "SwitchTransformersForConditionalGeneration",
        dict(vocab_size=8, d_model=13, d_kv=4, d_ff=9, num_heads=1, num_layers=2, num_sparse_encoder_layers=1,
             num_decoder_layers=2, num_sparse_decoder_layers=1, num_experts=5, expert_capacity=44,
             router_jitter_noise=0.0),
        block="encoder.block.1.layer.1.mlp",
        keep=r"encoder\.block\.1\.layer\.1\.mlp\.",
        router="router",
        chosen=lambda outputs: by_mask(outputs[0]),
    ),
    "nllb_moe": Family(
        "NllbMoeForConditionalGeneration",
        dict(vocab_size=8, d_model=14, encoder_layers=2, encoder_ffn_dim=9, encoder_attention_heads=1,
             decoder_layers=2, decoder_ffn_dim=9, decoder_attention_heads=1, encoder_sparse_step=2,
             decoder_sparse_step=2, num_experts=5, expert_capacity=40, moe_eval_capacity_token_fraction=-1.0,
             max_position_embeddings=16),
        block="model.encoder.layers.1.ffn",
        keep=r"model\.encoder\.layers\.1\.ffn\.",
        router="router",
        chosen=lambda outputs: by_mask(outputs[1]),
        forward=lambda block, x, ids: block(x, None),
        older=True,
    ),
    "nllb_moe_fraction": Family(
        "NllbMoeForConditionalGeneration",
        dict(vocab_size=8, d_model=13, encoder_layers=2, encoder_ffn_dim=7, encoder_attention_heads=1,
             decoder_layers=2, decoder_ffn_dim=9, decoder_attention_heads=1, encoder_sparse_step=2,
             decoder_sparse_step=2, num_experts=5, moe_eval_capacity_token_fraction=0.25,
             normalize_router_prob_before_dropping=True, max_position_embeddings=16),
        block="model.encoder.layers.1.ffn",
        keep=r"model\.encoder\.layers\.1\.ffn\.",
        router="router",
        chosen=lambda outputs: by_mask(outputs[1]),
        forward=lambda block, x, ids: block(x, None),
        older=True,
    ),
    "hy_v3": Family(
        "HYV3ForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, moe_intermediate_size=7, num_experts=9, num_experts_per_tok=4,
             num_shared_experts=1, mlp_layer_types=["dense", "sparse"]),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "afmoe": Family(
        "AfmoeForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, moe_intermediate_size=7, num_experts=9, num_experts_per_tok=3,
             num_shared_experts=2, num_dense_layers=1, route_scale=2.5),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        router="router",
    ),
    "gemma4_text": Family(
        "Gemma4ForCausalLM",
        tiny(hidden_size=14, intermediate_size=9, moe_intermediate_size=7, enable_moe_block=True, num_experts=9,
             top_k_experts=3, hidden_size_per_layer_input=0, vocab_size_per_layer_input=8,
             layer_types=["full_attention", "full_attention"]),
        block="model.layers.1",
        keep=r"model\.layers\.1\.(mlp|router|experts|pre_feedforward_layernorm(_2)?|post_feedforward_layernorm_[12])\.",
        router="router",
        forward=lambda layer, x, ids: layer.post_feedforward_layernorm_1(
            layer.mlp(layer.pre_feedforward_layernorm(x))
        ) + layer.post_feedforward_layernorm_2(
            layer.experts(layer.pre_feedforward_layernorm_2(x[0]), *layer.router(x[0])[:0:-1])
        ),
    ),
    "deepseek_v4": Family(
        "DeepseekV4ForCausalLM",
        tiny(hidden_size=15, moe_intermediate_size=7, n_routed_experts=9, num_experts_per_tok=4,
             n_shared_experts=1, routed_scaling_factor=1.5, swiglu_limit=2.0, q_lora_rank=4, o_lora_rank=4,
             o_groups=1, index_n_heads=1, index_head_dim=4, index_topk=2, hc_mult=2,
             layer_types=["sliding_attention", "sliding_attention"], mlp_layer_types=["hash_moe", "moe"]),
        block="model.layers.1.mlp",
        rename=(r"^model\.", ""),
        keep=r"layers\.1\.ffn\.",
        dtype="bf16",
        wide="bias",
        gains={"gate_up_proj": 2.0},
    ),
    "deepseek_v4_hash": Family(
        "DeepseekV4ForCausalLM",
        {**tiny(hidden_size=14, moe_intermediate_size=7, n_routed_experts=8, num_experts_per_tok=3,
                n_shared_experts=1, routed_scaling_factor=1.5, swiglu_limit=2.0, q_lora_rank=4, o_lora_rank=4,
                o_groups=1, index_n_heads=1, index_head_dim=4, index_topk=2, hc_mult=2,
                layer_types=["sliding_attention", "sliding_attention"], mlp_layer_types=["hash_moe", "moe"]),
         "vocab_size": 40},
        block="model.layers.0.mlp",
        rename=(r"^model\.", ""),
        keep=r"layers\.0\.ffn\.",
        forward=lambda block, x, ids: block(x, ids),
        gains={"gate_up_proj": 2.0},
        table=True,
    ),
    "kolibri1": Family(
        "Kolibri1ForCausalLM",
        tiny(hidden_size=13, moe_intermediate_size=7, shared_expert_intermediate_size=9, num_local_experts=9,
             num_experts_per_tok=3, norm_topk_prob=True),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.(mlp|moe)\.",
    ),
    "laguna": Family(
        "LagunaForCausalLM",
        tiny(hidden_size=13, intermediate_size=9, moe_intermediate_size=7, shared_expert_intermediate_size=9,
             num_experts=9, num_experts_per_tok=3, moe_routed_scaling_factor=2.5, moe_router_logit_softcapping=1.5,
             mlp_layer_types=["dense", "sparse"]),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
    ),
    "gpt_oss_mxfp4": Family(
        "GptOssForCausalLM",
        tiny(hidden_size=32, intermediate_size=64, num_local_experts=4, num_experts_per_tok=3),
        block="model.layers.1.mlp",
        keep=r"model\.layers\.1\.mlp\.",
        router="router",
        dtype="bf16",
        mxfp4=True,
    ),
}
