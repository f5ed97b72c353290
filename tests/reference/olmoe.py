"""OLMoE's MoE block at its real dimensions: moec against transformers.

    python -m venv v && v/bin/pip install torch transformers==5.23.0 safetensors
    cargo build --release
    v/bin/python tests/reference/olmoe.py --moec target/release/moec

Makes weights and inputs with a seeded generator, runs OlmoeSparseMoeBlock in f32 and `moec run
examples/olmoe.moe` on the same safetensors files, and compares. Cases: 1, 7, 64 and 1000 tokens, and 64
tokens whose router sends all of them to the same eight experts, so that 56 experts get none. Exits 1
when a difference is above 1e-5 of the output's scale.

The expected values are computed in f64: in f32, transformers' own rounding is of that order.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import OlmoeConfig
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock

LIMIT = 1e-5
ROOT = Path(__file__).resolve().parents[2]


def block(config, generator):
    """The reference block with every parameter and buffer filled: modules start uninitialised."""
    torch.set_default_dtype(torch.float32)
    module = OlmoeSparseMoeBlock(config).eval()
    with torch.no_grad():
        for tensor in list(module.parameters()) + list(module.buffers()):
            scale = tensor.shape[-1] ** -0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
    return module


def on_disk(module, config):
    """The parameters under the names of published checkpoints, one tensor per expert."""
    at = "model.layers.0.mlp"
    width = config.intermediate_size
    tensors = {f"{at}.gate.weight": module.gate.weight.detach().clone()}
    for e in range(config.num_experts):
        gate_up = module.experts.gate_up_proj[e].detach()
        tensors[f"{at}.experts.{e}.gate_proj.weight"] = gate_up[:width].contiguous().clone()
        tensors[f"{at}.experts.{e}.up_proj.weight"] = gate_up[width:].contiguous().clone()
        tensors[f"{at}.experts.{e}.down_proj.weight"] = module.experts.down_proj[e].detach().contiguous().clone()
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moec", required=True, help="the moec binary")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--only", nargs="*", default=[], metavar="WEIGHTS:TOKENS", help="such as skewed:64")
    args = parser.parse_args()

    config = OlmoeConfig()
    config.hidden_size, config.intermediate_size = 2048, 1024
    config.num_experts, config.num_experts_per_tok, config.norm_topk_prob = 64, 8, False
    generator = torch.Generator().manual_seed(20240903)
    module = block(config, generator)

    failed = False
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        folder = Path(folder)
        save_file(on_disk(module, config), folder / "weights.safetensors")
        skewed = dict(on_disk(module, config))
        gate = skewed["model.layers.0.mlp.gate.weight"]
        # All tokens share a direction, and the router follows it: experts 3, 11, .. 59 always win.
        shared = torch.randn(config.hidden_size, generator=generator)
        shared /= shared.norm()
        gate += torch.where(torch.arange(64) % 8 == 3, 1.0, -1.0).unsqueeze(1) * shared
        save_file(skewed, folder / "skewed.safetensors")

        only = [case.split(":") for case in args.only]
        cases = [("weights", t) for t in (1, 7, 64, 1000)] + [("skewed", 64), ("skewed", 1)]
        for weights, tokens in [(w, int(t)) for w, t in only] or cases:
            x = torch.randn(tokens, config.hidden_size, generator=generator)
            if weights == "skewed":
                x += 8 * shared
                module.gate.weight.copy_(gate)
            save_file({"x": x}, folder / "input.safetensors")
            expected = module.double()(x.double().unsqueeze(0))
            expected = (expected[0] if isinstance(expected, tuple) else expected).reshape(tokens, -1)
            module.float()
            subprocess.run(
                [args.moec, "run", ROOT / "examples" / "olmoe.moe", "--threads", args.threads]
                + ["--weights", folder / f"{weights}.safetensors"]
                + ["--input", folder / "input.safetensors", "--output", folder / "output.safetensors"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            found = load_file(folder / "output.safetensors")["y"].double()
            error = ((found - expected).abs().max() / expected.abs().max()).item()
            experts = torch.nn.functional.linear(x, module.gate.weight).topk(8).indices.unique().numel()
            verdict = "ok" if error <= LIMIT else "FAILED"
            failed |= error > LIMIT
            print(f"{weights:8} T={tokens:<5} experts {experts:<3} largest difference {error:.2e} of the output's scale  {verdict}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
