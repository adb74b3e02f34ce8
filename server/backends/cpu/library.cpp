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
  m.def("row_sum(Tensor x) -> Tensor");
  m.def("partition(Tensor distance, Tensor divisor) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("shortlist(Tensor distance, int size) -> (Tensor, Tensor)");
  m.def("weighted_quantile(Tensor x, Tensor? weights, Tensor target) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(kelvin, CPU, m) {
  m.impl("pack", TORCH_BOX(&kelvin::pack));
  m.impl("linear", TORCH_BOX(&kelvin::linear));
  m.impl("normalize", TORCH_BOX(&kelvin::normalize));
  m.impl("attend", TORCH_BOX(&kelvin::attend));
  m.impl("activate", TORCH_BOX(&kelvin::activate));
  m.impl("gumbel_noise", TORCH_BOX(&kelvin::gumbel_noise));
  m.impl("row_sum", TORCH_BOX(&kelvin::row_sum));
  m.impl("partition", TORCH_BOX(&kelvin::partition));
  m.impl("shortlist", TORCH_BOX(&kelvin::shortlist));
  m.impl("weighted_quantile", TORCH_BOX(&kelvin::weighted_quantile));
}
