"""Golden cases of real MoE layers: tiny models of transformers under the names of published files.

    python -m venv golden && golden/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0
    python -m venv nllb   && nllb/bin/pip install torch==2.15.0 transformers==4.57.6 safetensors==0.8.0
    golden/bin/python tests/golden/make.py --older nllb/bin/python            # writes every folder
    golden/bin/python tests/golden/make.py --older nllb/bin/python --check    # writes nothing, compares
    golden/bin/python tests/golden/make.py mixtral olmoe                      # some of them

The second environment is for nllb_moe alone: transformers 5.23.0 computes it wrongly (it only ever calls
the first two experts). CPU builds of torch do. A row of families.py makes a folder:

    config.json           as save_pretrained writes it
    model.safetensors     the tensors of one MoE layer, named and laid out as published files have them
                          (or three shards and model.safetensors.index.json)
    cases.safetensors     x [257, H] f32; for T in 1, 29, 257: y.T [T, H] f32, what the block gives for
                          the first T rows, and chosen.T bool [T, E], the experts that ran for each token

A module starts uninitialised, so every parameter and buffer of the block is filled, each from a generator
seeded by folder and name; then it is rounded to the element type of its file. The whole block then runs in
f64, also where its code says f32: `in_f64` is how. Results are rounded to f32 once, at the end, which is
why the bytes do not depend on the order in which a BLAS adds. A case whose choice of experts changes when
x is moved by 1e-5 is refused: no choice hangs by a thread.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save

from families import FAMILIES

HERE = Path(__file__).resolve().parent
TOKENS = (1, 29, 257)
VERSION, OLDER = "5.23.0", "4.57.6"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
DTYPE_NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
F32, F64 = torch.float32, torch.float64
MOST_BYTES = 200_000
#: What published MXFP4 files say is not packed.
UNPACKED = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]


def generator(*words):
    """A generator that depends on the words and nothing else."""
    return torch.Generator().manual_seed(zlib.crc32("/".join(map(str, words)).encode()))


def random_values(shape, name, family, gen):
    """Values such that every part of the block matters: scales around one, biases clearly not zero,
    matrices that keep the size of what they act on."""
    values = torch.randn(shape, generator=gen, dtype=F32)
    for pattern, gain in family.gains.items():
        if re.search(pattern, name):
            values = values * gain
    if "norm" in name or name.endswith("scale"):
        return 1 + 0.2 * values
    if "bias" in name:
        return 0.2 * values
    return values * shape[-1] ** -0.5


def fill(folder, family, block):
    """Fills the parameters and buffers of the block; the rest of the model is never looked at."""
    with torch.no_grad():
        for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
            gen = generator(folder, family.seed, name)
            if not tensor.dtype.is_floating_point:
                rows = [torch.randperm(family.config["n_routed_experts"], generator=gen) for _ in tensor]
                tensor.copy_(torch.stack(rows)[:, : tensor.shape[1]])
                continue
            values = random_values(tuple(tensor.shape), name, family, gen)
            if not re.search(family.wide, name):
                values = values.to(DTYPES[family.dtype])
            tensor.copy_(values.to(F32))


def pack(folder, block):
    """Gives the experts' matrices values that MXFP4 can hold, as transformers itself unpacks them: random
    blocks of 32 four-bit numbers, and scales near one. Returns blocks and scales by name."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    packed = {}
    for name in ("gate_up_proj", "down_proj"):
        weight = getattr(block.experts, name)
        experts, depth, rows = weight.shape
        gen = generator(folder, name)
        blocks = torch.randint(256, (experts, rows, depth // 32, 16), generator=gen, dtype=torch.uint8)
        scales = torch.randint(122, 126, blocks.shape[:3], generator=gen, dtype=torch.uint8)
        weight.data.copy_(convert_moe_packed_tensors(blocks.clone(), scales.clone(), dtype=F32))
        packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    return packed


def on_disk(family, model, packed, scratch):
    """What save_pretrained writes, cut down to one layer: its config's text and its tensors."""
    model.save_pretrained(scratch)
    tensors = {}
    for file in sorted(Path(scratch).glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            if family.rename:
                name = re.sub(*family.rename, name)
            if re.match(family.keep, name) and not (family.drop and re.search(family.drop, name)):
                if not tensor.dtype.is_floating_point:
                    # Tables of experts are i32 in the model's own code; transformers widens them.
                    tensors[name] = tensor.int()
                elif re.search(family.wide, name):
                    tensors[name] = tensor
                else:
                    tensors[name] = tensor.to(DTYPES[family.dtype])
    for name, tensor in packed.items():
        at = f"{family.block}.experts."
        tensors.pop(at + name.rpartition("_")[0], None)
        tensors[at + name] = tensor
    config = json.loads(Path(scratch, "config.json").read_text())
    if "dtype" in config:
        config["dtype"] = DTYPE_NAMES[family.dtype]
    if packed:
        config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": UNPACKED}
    return json.dumps(config, indent=2, sort_keys=True) + "\n", tensors


@contextlib.contextmanager
def in_f64(block):
    """Runs the block in f64, also where its code converts to f32: within, every spelling of the type means
    f64. Modules remember types too."""
    spelled = {(torch, "float32"): F64, (torch, "float"): F64, (torch.Tensor, "float"): torch.Tensor.double}
    before = {(owner, name): getattr(owner, name) for owner, name in spelled}
    block.double()
    for module in block.modules():
        if isinstance(getattr(module, "dtype", None), torch.dtype):
            module.dtype = F64
    try:
        torch.set_default_dtype(F64)
        for (owner, name), value in spelled.items():
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name), value in before.items():
            setattr(owner, name, value)
        torch.set_default_dtype(F32)


def run(family, block, x, ids):
    """y [T, H] and the experts chosen [T, E] for one sequence of tokens."""
    seen = []
    hook = block.get_submodule(family.router).register_forward_hook(lambda _m, _i, out: seen.append(out))
    with torch.no_grad(), in_f64(block):
        y = family.forward(block, x.double()[None], ids)
    hook.remove()
    y = y[0] if isinstance(y, tuple) else y
    assert y.dtype == F64, y.dtype
    return y.reshape(x.shape), family.chosen(seen[0])


def cases(folder, family, block):
    """The tensors of cases.safetensors."""
    hidden = family.config.get("hidden_size") or family.config["d_model"]
    x = torch.randn(TOKENS[-1], hidden, generator=generator(folder, family.seed, "x"))
    moved = x * (1 + 1e-5 * torch.randn(x.shape, generator=generator(folder, family.seed, "moved")))
    ids = None
    tensors = {"x": x}
    if family.table:
        ids = torch.randint(family.config["vocab_size"], (TOKENS[-1],), generator=generator(folder, "ids"))
        tensors["ids"] = ids.int()
    for count in TOKENS:
        some = None if ids is None else ids[None, :count]
        y, picked = run(family, block, x[:count], some)
        if not torch.equal(picked, run(family, block, moved[:count], some)[1]):
            raise SystemExit(f"{folder}: a choice hangs by a thread; give its row another seed")
        if not torch.isfinite(y).all():
            raise SystemExit(f"{folder}: y is not finite")
        tensors[f"y.{count}"] = y.to(F32)
        tensors[f"chosen.{count}"] = picked
    return tensors


def files(folder, family):
    """Every file of a folder: name to bytes."""
    model_class = getattr(transformers, family.model)
    config = model_class.config_class(**family.config)
    config._experts_implementation = "eager"
    model = model_class(config).eval()
    block = model.get_submodule(family.block)
    fill(folder, family, block)
    packed = pack(folder, block) if family.mxfp4 else {}
    with tempfile.TemporaryDirectory() as scratch:
        text, tensors = on_disk(family, model, packed, scratch)
    made = {"config.json": text.encode(), "cases.safetensors": save(cases(folder, family, block))}
    metadata = {"format": "pt"}
    if family.shards == 1:
        made["model.safetensors"] = save(tensors, metadata)
        return made
    names, where = sorted(tensors), {}
    for shard in range(family.shards):
        file = f"model-{shard + 1:05}-of-{family.shards:05}.safetensors"
        part = names[shard * len(names) // family.shards : (shard + 1) * len(names) // family.shards]
        made[file] = save({name: tensors[name] for name in part}, metadata)
        where |= {name: file for name in part}
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    made["model.safetensors.index.json"] = (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()
    return made


def settle(folder, made, check):
    """Writes the files of a folder, or compares them. Gives what is wrong."""
    place, wrong = HERE / folder, []
    size = sum(map(len, made.values()))
    if size > MOST_BYTES:
        wrong.append(f"{folder}: {size} bytes, more than {MOST_BYTES}")
    if check:
        for name, data in made.items():
            file = place / name
            if not file.exists() or file.read_bytes() != data:
                wrong.append(f"{folder}/{name} is not what this script makes")
    else:
        place.mkdir(exist_ok=True)
        for name, data in made.items():
            (place / name).write_bytes(data)
    print(f"{folder:24} {size:7} bytes")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="some folders only")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--older", metavar="PYTHON", help=f"a Python that has transformers {OLDER}")
    args = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    folders = {folder: FAMILIES[folder] for folder in args.folders or FAMILIES}
    here = [folder for folder, family in folders.items() if family.older == (transformers.__version__ == OLDER)]
    there = [folder for folder in folders if folder not in here]
    wrong = []
    for folder in here:
        wrong += settle(folder, files(folder, folders[folder]), args.check)
    if there and args.older:
        command = [args.older, __file__, *there, *["--check"] * args.check]
        wrong += [f"the run of {args.older} failed"] * bool(subprocess.run(command).returncode)
    elif there:
        wrong.append(f"{', '.join(there)}: needs --older, a Python with transformers {OLDER}")
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
