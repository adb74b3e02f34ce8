// The kernels as torch operators, so that torch.compile takes them into its graphs.

#include <torch/csrc/stable/library.h>

#include "kernels.h"

STABLE_TORCH_LIBRARY_FRAGMENT(kelvin, m) {
  m.def("pack(Tensor weight) -> Tensor");
  m.def(
      "linear(Tensor x, Tensor packed, int out_features, Tensor? bias, Tensor? residual, bool as_float) -> Tensor");
  m.def("normalize(Tensor x, Tensor weight, Tensor? bias, float eps, bool centred) -> Tensor");
  m.def(
      "attend(Tensor query, Tensor key, Tensor value, Tensor? cos, Tensor? sin, Tensor(a!) keys, Tensor(b!) values, "
      "Tensor slots, Tensor positions, float scale, int window, float softcap) -> Tensor");
  m.def("activate(Tensor x, str name, bool gated) -> Tensor");
  m.def("gumbel_noise(Tensor key0, Tensor key1, Tensor step, int vocab_size) -> Tensor");
  m.def("argmax(Tensor x) -> Tensor");
  m.def("scatter(Tensor(a!) x, Tensor indices, Tensor values) -> ()");
  m.def("scatter_min(Tensor(a!) x, Tensor indices, Tensor values) -> ()");
  m.def("temper(Tensor distance, Tensor divisor) -> (Tensor, Tensor)");
  m.def("partition(Tensor distance, Tensor? minima, Tensor low, Tensor high) -> (Tensor, Tensor, Tensor)");
  m.def(
      "quantile(Tensor distance, Tensor? minima, Tensor low, Tensor high, Tensor centre, Tensor target, bool weighted) "
      "-> Tensor");
  m.def(
      "extent(Tensor distance, Tensor? minima, Tensor low, Tensor high, Tensor centre, Tensor width) "
      "-> (Tensor, Tensor)");
  m.def("deviation(Tensor distance, Tensor wanted) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(kelvin, CPU, m) {
  m.impl("pack", TORCH_BOX(&kelvin::pack));
  m.impl("linear", TORCH_BOX(&kelvin::linear));
  m.impl("normalize", TORCH_BOX(&kelvin::normalize));
  m.impl("attend", TORCH_BOX(&kelvin::attend));
  m.impl("activate", TORCH_BOX(&kelvin::activate));
  m.impl("gumbel_noise", TORCH_BOX(&kelvin::gumbel_noise));
  m.impl("argmax", TORCH_BOX(&kelvin::argmax));
  m.impl("scatter", TORCH_BOX(&kelvin::scatter));
  m.impl("scatter_min", TORCH_BOX(&kelvin::scatter_min));
  m.impl("temper", TORCH_BOX(&kelvin::temper));
  m.impl("partition", TORCH_BOX(&kelvin::partition));
  m.impl("quantile", TORCH_BOX(&kelvin::quantile));
  m.impl("extent", TORCH_BOX(&kelvin::extent));
  m.impl("deviation", TORCH_BOX(&kelvin::deviation));
}
