"""The trained mixture of PyPI `aeacus` 0.6.0: moec against PyTorch.

    cargo build --release
    v/bin/python examples/aeacus/compare.py --moec target/release/moec

Set-up as in `convert.py`. Inputs are seeded: expressions as the model sees them, of mean 0 and deviation 1,
some of them cut off at 0 expression as most genes of a cell are. The expected values are the package's own
network in f64. Exits 1 when a difference is above 1e-5 of an output's scale.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from convert import package, state

LIMIT = 1e-5


def network(folder, tensors):
    """The package's own module; its `network.py` alone, since the rest needs single-cell libraries."""
    spec = importlib.util.spec_from_file_location("network", folder / "network.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.MoE(**module.infer_config_from_state_dict(tensors))
    model.load_state_dict(tensors)
    return model.double().eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moec", required=True, help="the moec binary")
    parser.add_argument("--package", help="the folder `aeacus` of an unpacked wheel")
    args = parser.parse_args()
    folder = package(args.package)
    tensors = state(folder)
    model = network(folder, tensors)
    genes = json.loads((folder / "model" / "config.json").read_text())["input_dim"]
    generator = torch.Generator().manual_seed(6)
    failed = False
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        temporary = Path(temporary)
        save_file(tensors, temporary / "weights.safetensors")
        for cells in (1, 7, 256):
            x = torch.randn(cells, genes, generator=generator)
            x[::2] = x[::2].clamp(min=-0.3)
            save_file({"x": x}, temporary / "input.safetensors")
            subprocess.run(
                [args.moec, "run", Path(__file__).parent / "aeacus.moe", "--verify", "0"]
                + ["--weights", temporary / "weights.safetensors", "--input", temporary / "input.safetensors"]
                + ["--output", temporary / "output.safetensors"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            found = load_file(temporary / "output.safetensors")
            # `forward` makes its input f32; the parts are called on f64.
            gates = model.gate(x.double()).softmax(1)
            experts = torch.cat([expert(x.double()) for expert in model.experts], dim=1)
            expected = {"gates": gates, "y": (experts * gates).sum(1, keepdim=True)}
            for name, wanted in expected.items():
                error = ((found[name].double() - wanted).abs().max() / wanted.abs().max()).item()
                failed |= error > LIMIT
                print(f"{cells:4} cells, {name:5}: largest difference {error:.2e} of the output's scale")
            agree = ((found["y"] > 0) == (expected["y"] > 0)).all().item()
            failed |= not agree
            print(f"{cells:4} cells: {'the same' if agree else 'ANOTHER'} class for every cell")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
