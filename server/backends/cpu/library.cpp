// The kernels as torch operators.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "kernels.h"
#include "pool.h"

int64_t kelvin::num_threads() { return torch::stable::get_num_threads(); }

STABLE_TORCH_LIBRARY_FRAGMENT(kelvin, m) {
  m.def("pack(Tensor weight) -> Tensor");
  m.def(
      "linear(Tensor x, Tensor packed, int out_features, Tensor? bias, Tensor? residual, bool as_float) -> Tensor");
  m.def("pack_int8(Tensor weight) -> Tensor");
  m.def(
      "linear_int8(Tensor x, Tensor packed, int out_features, Tensor? bias, Tensor? residual, bool as_float) -> "
      "Tensor");
  m.def("normalize(Tensor x, Tensor weight, Tensor? bias, float eps, bool centred) -> Tensor");
  m.def(
      "attend(Tensor query, Tensor key, Tensor value, Tensor? cos, Tensor? sin, Tensor(a!) keys, Tensor(b!) values, "
      "Tensor slots, Tensor positions, float scale, int window, float softcap) -> Tensor");
  m.def("activate(Tensor x, str name, bool gated) -> Tensor");
  m.def(
      "block(Tensor x, Tensor slots, Tensor positions, Tensor(a!) keys, Tensor(b!) values, Tensor? cos, Tensor? sin, "
      "Tensor attention_norm, Tensor? attention_norm_bias, Tensor qkv, Tensor? qkv_bias, Tensor? query_norm, "
      "Tensor? key_norm, Tensor out, Tensor? out_bias, Tensor? post_attention_norm, Tensor mlp_norm, "
      "Tensor? mlp_norm_bias, Tensor up, Tensor? up_bias, Tensor down, Tensor? down_bias, Tensor? post_mlp_norm, "
      "int heads, int kv_heads, int head_dim, int intermediate_size, str activation, bool gated, float eps, "
      "bool centred, bool parallel_residual, float scale, int window, float softcap) -> Tensor");
  m.def("gumbel_noise(Tensor key0, Tensor key1, Tensor step, int vocab_size) -> Tensor");
  m.def("scatter(Tensor(a!) x, Tensor indices, Tensor values) -> ()");
  m.def("scatter_min(Tensor(a!) x, Tensor indices, Tensor values) -> ()");
  m.def(
      "draw(Tensor logits, Tensor temperature, Tensor key0, Tensor key1, Tensor step, Tensor temperature_span, "
      "Tensor temperature_exponent, Tensor temperature_last, Tensor top_n_sigma, Tensor early_min_p, Tensor top_k, "
      "Tensor early_typical_p, Tensor top_p, Tensor min_p, Tensor typical_p, Tensor epsilon_cutoff, Tensor eta_cutoff, "
      "Tensor xtc_probability, Tensor xtc_threshold) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "measure(Tensor logits, Tensor processed, Tensor temperature, Tensor token_ids, Tensor before, Tensor after, "
      "Tensor low, Tensor high) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(kelvin, CPU, m) {
  m.impl("pack", TORCH_BOX(&kelvin::pack));
  m.impl("linear", TORCH_BOX(&kelvin::linear));
  m.impl("pack_int8", TORCH_BOX(&kelvin::pack_int8));
  m.impl("linear_int8", TORCH_BOX(&kelvin::linear_int8));
  m.impl("normalize", TORCH_BOX(&kelvin::normalize));
  m.impl("attend", TORCH_BOX(&kelvin::attend));
  m.impl("activate", TORCH_BOX(&kelvin::activate));
  m.impl("block", TORCH_BOX(&kelvin::block));
  m.impl("gumbel_noise", TORCH_BOX(&kelvin::gumbel_noise));
  m.impl("scatter", TORCH_BOX(&kelvin::scatter));
  m.impl("scatter_min", TORCH_BOX(&kelvin::scatter_min));
  m.impl("draw", TORCH_BOX(&kelvin::draw));
  m.impl("measure", TORCH_BOX(&kelvin::measure));
}
