// Where the results of products go.
#pragma once

#include <optional>

#include "tensors.h"
#include "tile.h"

namespace kelvin {

// Make room for a product's results and call `multiply(x's data, epilogue)`; arguments as for `linear`.
template <typename F>
Tensor product(const Tensor& x, int64_t out_features, const std::optional<Tensor>& bias,
               const std::optional<Tensor>& residual, bool as_float, F multiply) {
  Tensor out = empty({x.size(0), out_features}, as_float ? ScalarType::Float : x.scalar_type());
  for_type_of(x, [&](auto type) {
    using T = decltype(type);
    auto run = [&](auto* target) {
      using Out = std::remove_pointer_t<decltype(target)>;
      multiply(data<T>(x), Epilogue<T, Out>{bias ? data<T>(*bias) : nullptr, residual ? data<T>(*residual) : nullptr,
                                            residual ? residual->stride(0) : 0, target, out_features});
    };
    if (as_float)
      run(mutable_data<float>(out));
    else
      run(mutable_data<T>(out));
  });
  return out;
}

// The same for `linear_activated`.
template <typename F>
Tensor activated_product(const Tensor& x, int64_t width, const std::optional<Tensor>& bias, Activation activation,
                         bool gated, F multiply) {
  Tensor out = empty({x.size(0), width}, x.scalar_type());
  for_type_of(x, [&](auto type) {
    using T = decltype(type);
    multiply(data<T>(x), Activated<T>{bias ? data<T>(*bias) : nullptr, mutable_data<T>(out), width * (1 + gated),
                                      activation, gated});
  });
  return out;
}

}  // namespace kelvin
