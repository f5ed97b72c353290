"""The conventions of `examples/conventions/`: moec against the packages that they are from.

    python -m venv v && v/bin/pip install torch einops safetensors
    v/bin/pip install --no-deps mixture-of-experts==0.2.3 soft-moe-pytorch==0.1.9
    cargo build --release
    v/bin/python tests/reference/conventions.py --moec target/release/moec

Weights and inputs are seeded. Expected values are computed by the packages' own modules in f64; expert
choice, which has no package, by the few lines of `expert_choice` below. Policies that draw lots are set to
what is deterministic. `mixture-of-experts` draws lots for second choices by default, and its policy
`threshold` fails in 0.2.3 (it multiplies [b, n, e] by [b, n]), so it is compared under `all` and `none`, which
are the `least` -1 and 2 of our sources. Soft MoE adds no noise. Capacities are those that the packages
compute, here small enough that tokens are dropped. Exits 1 when a difference is above 1e-5 of the output's
scale.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from mixture_of_experts import MoE, HeirarchicalMoE
from safetensors.torch import load_file, save_file
from soft_moe_pytorch import SoftMoE

LIMIT = 1e-5
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "conventions"
H, F = 32, 48


def seeded(module, generator):
    """The module with its parameters filled, as f64; values are those of f32."""
    with torch.no_grad():
        for tensor in module.parameters():
            scale = 1.0 if tensor.ndim == 1 else tensor.shape[-2] ** -0.5
            tensor.copy_((torch.randn(tensor.shape, generator=generator) * scale).float())
    return module.double().eval()


def capacity(tokens, experts, factor):
    """As `Top2Gating.forward` computes it."""
    return max(min(tokens, int(tokens * factor / experts)), 4)


def policy(tokens):
    """A policy for second choices, and our word for it."""
    return ("none", 2) if tokens == 32 else ("all", -1)


def top2_einsum(generator, batch, tokens):
    second, least = policy(tokens)
    module = MoE(H, num_experts=6, hidden_dim=F, second_policy_eval=second, capacity_factor_eval=1.0)
    sizes = {"E": 6, "C": capacity(tokens, 6, 1.0), "least": least}
    return seeded(module, generator), lambda m, x: m(x)[0], sizes


def hierarchical(generator, batch, tokens):
    second, least = policy(tokens)
    module = HeirarchicalMoE(
        H, num_experts=(3, 4), hidden_dim=F, second_policy_eval=second, capacity_factor_eval=1.0
    )
    outer = capacity(tokens, 3, 1.0)
    sizes = {"A": 3, "E": 4, "C": outer, "D": capacity(outer, 4, 1.0), "least": least}
    return seeded(module, generator), lambda m, x: m(x)[0], sizes


def soft_moe(generator, batch, tokens):
    module = SoftMoE(H, num_experts=4, num_slots=5, expert_mult=F / H)
    return seeded(module, generator), lambda m, x: m(x), {"E": 4, "S": 5}


class ExpertChoice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name, shape in {"gate": (H, 5), "w1": (5, H, F), "w2": (5, F, H)}.items():
            self.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))


def expert_choice(generator, batch, tokens):
    chosen = min(3, tokens)

    def forward(module, x):
        scores = (x[0] @ module.gate).softmax(1)
        y = torch.zeros_like(x[0])
        for e in range(5):
            weights, rows = scores[:, e].topk(chosen)
            h = torch.nn.functional.gelu(x[0, rows] @ module.w1[e])
            y.index_add_(0, rows, weights[:, None] * (h @ module.w2[e]))
        return y[None]

    return seeded(ExpertChoice(), generator), forward, {"E": 5, "C": chosen}


CASES = {
    "top2_einsum": (top2_einsum, [(1, 7), (2, 32), (3, 100)]),
    "hierarchical": (hierarchical, [(1, 7), (2, 32), (3, 100)]),
    "soft_moe": (soft_moe, [(1, 7), (2, 32), (3, 100)]),
    "expert_choice": (expert_choice, [(1, 2), (1, 32), (1, 100)]),
    "expert_choice_gathered": (expert_choice, [(1, 2), (1, 32), (1, 100)]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moec", required=True, help="the moec binary")
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(20241117)
    failed = False
    for name, (make, shapes) in CASES.items():
        for batch, tokens in shapes:
            module, forward, sizes = make(generator, batch, tokens)
            x = torch.randn(batch, tokens, H, generator=generator)
            with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                folder = Path(folder)
                weights = {k: v.float().contiguous().clone() for k, v in module.state_dict().items()}
                save_file(weights, folder / "weights.safetensors")
                given = x[0] if name.startswith("expert_choice") else x
                save_file({"x": given.contiguous().clone()}, folder / "input.safetensors")
                settings = [f"{dim}={size}" for dim, size in {"H": H, "F": F, **sizes}.items()]
                subprocess.run(
                    [args.moec, "run", EXAMPLES / f"{name}.moe", "--verify", "0"]
                    + [word for setting in settings for word in ("--set", setting)]
                    + ["--weights", folder / "weights.safetensors", "--input", folder / "input.safetensors"]
                    + ["--output", folder / "output.safetensors"],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                found = load_file(folder / "output.safetensors")["y"].double().reshape(x.shape)
                expected = forward(module, x.double())
            error = ((found - expected).abs().max() / expected.abs().max()).item()
            empty = (expected.abs().sum(-1) == 0).sum().item()
            failed |= error > LIMIT
            print(
                f"{name:22} B={batch} T={tokens:<4} {empty:3} tokens of no expert,"
                f" largest difference {error:.2e} of the output's scale"
            )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
