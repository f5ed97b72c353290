"""The trained weights of PyPI `aeacus` (BSD-3-Clause) as safetensors.

    python -m venv v && v/bin/pip install torch numpy safetensors && v/bin/pip install --no-deps aeacus==0.6.0
    v/bin/python examples/aeacus/convert.py aeacus.safetensors

`--package FOLDER` takes an unpacked wheel instead of the installed package. The weights stay outside of
this repository: the file has 17 MB.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file

# What the checkpoint holds beside tensors. Anything else in it is refused: a pickle may run code.
HARMLESS = [
    numpy._core.multiarray._reconstruct,
    numpy._core.multiarray.scalar,
    numpy.ndarray,
    numpy.dtype,
    *(getattr(numpy.dtypes, name) for name in dir(numpy.dtypes) if name.endswith("DType")),
]


def package(folder=None):
    """The folder of the package."""
    if folder:
        return Path(folder)
    return Path(importlib.util.find_spec("aeacus").submodule_search_locations[0])


def state(folder):
    """The tensors of the network by name, as f32."""
    with torch.serialization.safe_globals(HARMLESS):
        found = torch.load(folder / "model" / "moe.pt", map_location="cpu", weights_only=True)
    while "gate.0.weight" not in found:
        inner = [value for value in found.values() if isinstance(value, dict) and value]
        found = next(value for value in inner if any(isinstance(v, torch.Tensor) for v in value.values()))
    return {name: tensor.float().contiguous().clone() for name, tensor in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the safetensors file")
    parser.add_argument("--package", help="the folder `aeacus` of an unpacked wheel")
    args = parser.parse_args()
    save_file(state(package(args.package)), args.out)
