"""ONNX Runtime's `com.microsoft.MoE`: a product for the router, then top-k, softmax and experts in one operator."""

import numpy
import onnxruntime
from onnx import TensorProto, helper


def graph(layer, weights):
    """The nodes and their weights. The operator's `swiglu` wants gate and up rows interleaved."""
    both = numpy.empty((layer.e, 2 * layer.f, layer.h), dtype=numpy.float32)
    both[:, 0::2], both[:, 1::2] = weights.pop("w1"), weights.pop("w3")
    tensors = {"router": weights["router"].T, "w13": both, "w2": weights["w2"]}
    nodes = [
        helper.make_node("MatMul", ["x", "router"], ["scores"]),
        helper.make_node(
            "MoE", ["x", "scores", "w13", "", "w2"], ["routed" if layer.shared else "y"], domain="com.microsoft",
            k=layer.k, activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.0, activation_beta=0.0,
            normalize_routing_weights=int(layer.renormalised)),
    ]
    if layer.shared:
        tensors |= {name: weights[name].T for name in ("s1", "s3", "s2")}
        nodes += [
            helper.make_node("MatMul", ["x", "s1"], ["gate"]),
            helper.make_node("Sigmoid", ["gate"], ["open"]),
            helper.make_node("Mul", ["gate", "open"], ["silu"]),
            helper.make_node("MatMul", ["x", "s3"], ["up"]),
            helper.make_node("Mul", ["silu", "up"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "s2"], ["common"]),
            helper.make_node("Add", ["routed", "common"], ["y"]),
        ]
    return nodes, {name: numpy.ascontiguousarray(array) for name, array in tensors.items()}


def external(name, array):
    """An initializer whose elements are given to the session: a model holds no more than 2 GiB."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in [("location", "given"), ("offset", "0"), ("length", str(array.nbytes))]:
        tensor.external_data.add(key=key, value=value)
    return tensor


class Moe:
    def __init__(self, session):
        self.session = session

    def prepare(self, x):
        self.x = [{"x": one} for one in x]
        self.call(0)

    def call(self, at):
        return self.session.run(None, self.x[at % len(self.x)])[0]


def open(layer):
    if layer.type != "f32":
        raise ValueError("its operator MoE has f32 and f16 on a CPU, no bf16")
    nodes, tensors = graph(layer, layer.read(layer.weights))
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["T", layer.h])
    initializers = [external(name, array) for name, array in tensors.items()]
    made = helper.make_graph(nodes, layer.name, [value("x")], [value("y")], initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = layer.threads
    options.inter_op_num_threads = 1
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in tensors.values()]
    options.add_external_initializers(list(tensors), values)
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return {"onnxruntime MoE": Moe(session)}
