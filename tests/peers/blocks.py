"""The blocks of transformers, with three ways to compute experts: the loop over experts, the grouped product, and
the batched product compiled by torch.compile."""

import torch
from transformers import DeepseekV2Config, MixtralConfig, OlmoeConfig, Qwen3MoeConfig
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

# Weights of every chosen pair are copied by the batched product; more than so many bytes are too many.
MOST_COPIED = 4 << 30


def block(layer):
    """The block of the layer's family, whose weights have yet to be filled in."""
    sizes = dict(hidden_size=layer.h, num_experts_per_tok=layer.k)
    if layer.shared:
        return DeepseekV2Moe(DeepseekV2Config(
            **sizes, moe_intermediate_size=layer.f, n_routed_experts=layer.e, n_shared_experts=layer.shared,
            topk_method="greedy", routed_scaling_factor=1.0))
    if not layer.renormalised:
        return OlmoeSparseMoeBlock(OlmoeConfig(
            **sizes, intermediate_size=layer.f, num_experts=layer.e, norm_topk_prob=False))
    if layer.e == 8:
        return MixtralSparseMoeBlock(MixtralConfig(
            **sizes, intermediate_size=layer.f, num_local_experts=layer.e))
    return Qwen3MoeSparseMoeBlock(Qwen3MoeConfig(
        **sizes, moe_intermediate_size=layer.f, num_experts=layer.e, norm_topk_prob=True))


def tensor(array):
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


class Experts:
    """A block that computes its experts in one of the ways."""

    def __init__(self, layer, block, how, compiled):
        self.layer, self.block, self.how, self.compiled = layer, block, how, compiled

    def prepare(self, x):
        self.x = [tensor(one).unsqueeze(0) for one in x]
        layer = self.layer
        if self.compiled:
            copied = self.x[0].shape[1] * layer.k * 3 * layer.h * layer.f * self.x[0].element_size()
            if copied > MOST_COPIED:
                raise MemoryError(f"the batched product would copy {copied / 1e9:.0f} GB of weights")
            self.block.experts.config._experts_implementation = self.how
            torch._dynamo.reset()
            self.run = torch.compile(self.block)
        else:
            self.run = self.block
        for at in range(2):
            self.call(at)

    def call(self, at):
        self.block.experts.config._experts_implementation = self.how
        with torch.no_grad():
            y = self.run(self.x[at % len(self.x)])
        return y[0].float().numpy() if at == 0 else None


def open(layer):
    if layer.type == "mixed":
        raise ValueError("torch multiplies tensors of one type only")
    torch.set_num_threads(layer.threads)
    torch.set_num_interop_threads(1)
    weights = {name: tensor(array) for name, array in layer.read(layer.weights).items()}
    with torch.device("meta"):
        made = block(layer)
    values = {
        "gate.weight": weights["router"],
        "experts.gate_up_proj": torch.cat([weights.pop("w1"), weights.pop("w3")], dim=1),
        "experts.down_proj": weights["w2"],
    }
    if layer.shared:
        for name, ours in [("gate_proj", "s1"), ("up_proj", "s3"), ("down_proj", "s2")]:
            values[f"shared_experts.{name}.weight"] = weights[ours]
    made.load_state_dict(values, assign=True)
    made.eval()
    return {
        "transformers eager": Experts(layer, made, "eager", False),
        "transformers grouped_mm": Experts(layer, made, "grouped_mm", False),
        "torch.compile batched_mm": Experts(layer, made, "batched_mm", True),
    }
