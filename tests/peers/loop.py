"""OpenVINO: a loop over experts, traced from torch, as its own exporter of such models writes it."""

import numpy
import openvino
import torch
from blocks import tensor


class Loop(torch.nn.Module):
    """Each expert takes the tokens that chose it and adds its weighted result to theirs."""

    def __init__(self, layer, weights):
        super().__init__()
        self.layer = layer
        for name, array in weights.items():
            self.register_buffer(name, tensor(array))

    def forward(self, x):
        layer, silu = self.layer, torch.nn.functional.silu
        scores = (x @ self.router.T).float()
        # Experts are chosen by score: told to compute in bf16, OpenVINO has softmax in it too, where close scores tie.
        chosen = torch.topk(scores, layer.k, dim=-1).indices
        values = torch.softmax(scores, dim=-1).gather(1, chosen)
        if layer.renormalised:
            values = values / values.sum(dim=-1, keepdim=True)
        mask = torch.nn.functional.one_hot(chosen, layer.e).permute(2, 1, 0)
        y = torch.zeros_like(x)
        for e in range(layer.e):
            slot, token = torch.where(mask[e])
            rows = x[token]
            hidden = silu(rows @ self.w1[e].T) * (rows @ self.w3[e].T)
            weighted = (hidden @ self.w2[e].T) * values[token, slot, None].to(x.dtype)
            y = y.index_add(0, token, weighted)
        if layer.shared:
            y = y + (silu(x @ self.s1.T) * (x @ self.s3.T)) @ self.s2.T
        return y


class Compiled:
    def __init__(self, model, half, module):
        self.request, self.half = model.create_infer_request(), half
        # Converted constants share the memory of the module's weights, and those in bf16 do not keep it.
        self.module = module

    def prepare(self, x):
        self.x = [self.as_tensor(one) for one in x]
        self.call(0)
        self.call(1)

    def as_tensor(self, x):
        if not self.half:
            return openvino.Tensor(numpy.ascontiguousarray(x))
        bits = numpy.ascontiguousarray(x).view("uint16")
        return openvino.Tensor(bits, list(x.shape), openvino.Type.bf16)

    def call(self, at):
        self.request.set_input_tensor(self.x[at % len(self.x)])
        self.request.infer()
        if at:
            return None
        y = self.request.get_output_tensor()
        if not self.half:
            return y.data.copy()
        return (y.data.view("uint16").astype("uint32") << 16).view("float32")


def open(layer):
    if layer.type == "mixed":
        raise ValueError("it computes in one type")
    half = layer.type == "bf16"
    module = Loop(layer, layer.read(layer.weights)).eval()
    example = torch.zeros(3, layer.h, dtype=torch.bfloat16 if half else torch.float32)
    with torch.no_grad():
        model = openvino.convert_model(module, example_input=example, input=[openvino.PartialShape([-1, layer.h])])
    core = openvino.Core()
    compiled = core.compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": layer.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
    })
    return {"openvino loop": Compiled(compiled, half, module)}
