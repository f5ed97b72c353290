"""ggml: `mul_mat_id` over the stacked experts, in the graph that llama.cpp builds for such a layer. Weights in bf16
meet activations in f32, which the product rounds to bf16 itself."""

import ctypes

import ggml
import numpy


class Graph:
    def __init__(self, layer, backend, weights):
        self.layer, self.backend, self.weights = layer, backend, weights

    def build(self, tokens):
        layer, w = self.layer, self.weights
        context = ggml.ggml_init(ggml.ggml_init_params(mem_size=1 << 20, mem_buffer=None, no_alloc=True))
        x = ggml.ggml_new_tensor_2d(context, ggml.GGML_TYPE_F32, layer.h, tokens)
        ggml.ggml_set_input(x)
        scores = ggml.ggml_soft_max(context, ggml.ggml_mul_mat(context, w["router"], x))
        chosen = ggml.ggml_argsort_top_k(context, scores, layer.k)
        rows = ggml.ggml_reshape_3d(context, scores, 1, layer.e, tokens)
        gates = ggml.ggml_get_rows(context, rows, chosen)
        if layer.renormalised:
            flat = ggml.ggml_reshape_2d(context, gates, layer.k, tokens)
            flat = ggml.ggml_div(context, flat, ggml.ggml_sum_rows(context, flat))
            gates = ggml.ggml_reshape_3d(context, flat, 1, layer.k, tokens)
        each = ggml.ggml_reshape_3d(context, x, layer.h, 1, tokens)
        up = ggml.ggml_mul_mat_id(context, w["w3"], each, chosen)
        gate = ggml.ggml_mul_mat_id(context, w["w1"], each, chosen)
        hidden = ggml.ggml_swiglu_split(context, gate, up)
        pairs = ggml.ggml_mul(context, ggml.ggml_mul_mat_id(context, w["w2"], hidden, chosen), gates)
        step = pairs.contents.nb
        y = None
        for slot in range(layer.k):
            view = ggml.ggml_view_2d(context, pairs, layer.h, tokens, step[2], slot * step[1])
            y = view if y is None else ggml.ggml_add(context, y, view)
        if layer.shared:
            gate, up = (ggml.ggml_mul_mat(context, w[name], x) for name in ("s1", "s3"))
            hidden = ggml.ggml_swiglu_split(context, gate, up)
            y = ggml.ggml_add(context, y, ggml.ggml_mul_mat(context, w["s2"], hidden))
        ggml.ggml_set_output(y)
        graph = ggml.ggml_new_graph(context)
        ggml.ggml_build_forward_expand(graph, y)
        allocator = ggml.ggml_gallocr_new(ggml.ggml_backend_get_default_buffer_type(self.backend))
        if not ggml.ggml_gallocr_alloc_graph(allocator, graph):
            raise MemoryError("ggml cannot allocate the graph")
        return x, y, graph

    def prepare(self, x):
        self.values = [numpy.ascontiguousarray(one, dtype=numpy.float32) for one in x]
        self.x, self.y, self.graph = self.build(len(self.values[0]))
        self.call(0)

    def call(self, at):
        x = self.values[at % len(self.values)]
        ggml.ggml_backend_tensor_set(self.x, x.ctypes.data_as(ctypes.c_void_p), 0, x.nbytes)
        if ggml.ggml_backend_graph_compute(self.backend, self.graph) != 0:
            raise RuntimeError("ggml failed")
        if at:
            return None
        y = numpy.empty_like(x)
        ggml.ggml_backend_tensor_get(self.y, y.ctypes.data_as(ctypes.c_void_p), 0, y.nbytes)
        return y


def open(layer):
    backend = ggml.ggml_backend_cpu_init()
    ggml.ggml_backend_cpu_set_n_threads(backend, layer.threads)
    values = layer.read(layer.weights)
    context = ggml.ggml_init(ggml.ggml_init_params(mem_size=1 << 20, mem_buffer=None, no_alloc=True))
    weights = {}
    for name, array in values.items():
        kind = ggml.GGML_TYPE_F32 if array.dtype == numpy.float32 else ggml.GGML_TYPE_BF16
        sizes = (ctypes.c_int64 * array.ndim)(*reversed(array.shape))
        weights[name] = ggml.ggml_new_tensor(context, kind, array.ndim, sizes)
    ggml.ggml_backend_alloc_ctx_tensors(context, backend)
    for name, array in values.items():
        data = array.view("uint8").ctypes.data_as(ctypes.c_void_p)
        ggml.ggml_backend_tensor_set(weights[name], data, 0, array.nbytes)
    return {"ggml mul_mat_id": Graph(layer, backend, weights)}
