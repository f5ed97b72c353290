"""One engine, which computes the layer that `cargo xtask bench --peers` names, when it is told to.

    contender.py ENGINE LAYER.json

ENGINE is a module of this folder with a function `open(layer)`, which gives a dictionary of contenders: name to
an object with `prepare(x)` and `call(n)`. LAYER.json says names, sizes, types, threads, and the safetensors
file of the weights. One JSON object a line answers each line of standard input:

    names                     {"names": [...]}, or {"refused": WHY}
    prepare NAME INPUTS       reads `x`, [calls, tokens, H], and makes ready for calls with them
    output NAME FILE          calls with the first input and writes `y`
    round NAME CALLS          {"seconds": PER_CALL} of that many calls, with inputs in turn

What an engine prints itself goes to standard error.
"""

import importlib
import json
import os
import sys
import time
import types

import numpy
from safetensors.numpy import load_file, save_file


def read(path):
    """Tensors of a file; bf16 as ml_dtypes has it, which numpy computes with."""
    import ml_dtypes  # noqa: F401  (registers bfloat16)

    return load_file(path)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine = importlib.import_module(sys.argv[1])
    with open(sys.argv[2]) as file:
        layer = types.SimpleNamespace(**json.load(file))
    layer.read = read
    contenders, turn = None, {}

    def answer(words):
        nonlocal contenders
        match words:
            case ["names"]:
                contenders = engine.open(layer)
                return {"names": list(contenders)}
            case ["prepare", name, path]:
                contenders[name].prepare(read(path)["x"])
                turn[name] = 0
                return {}
            case ["output", name, path]:
                save_file({"y": numpy.ascontiguousarray(contenders[name].call(0), dtype=numpy.float32)}, path)
                return {}
            case ["round", name, calls]:
                contender, first, count = contenders[name], turn[name], int(calls)
                started = time.perf_counter()
                for at in range(first, first + count):
                    contender.call(at)
                seconds = (time.perf_counter() - started) / count
                turn[name] = first + count
                return {"seconds": seconds}
        raise ValueError(f"what is {words}?")

    for line in sys.stdin:
        try:
            reply = answer(line.rstrip("\n").split("\t"))
        except Exception as error:
            reply = {"refused": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
