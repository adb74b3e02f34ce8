// The product of weights that are packed as they are.

#include "kernels.h"
#include "product.h"
#include "results.h"

namespace kelvin {

Tensor pack(const Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1), tiles = (out + kTile - 1) / kTile;
  Tensor packed = empty({tiles * kTile * in}, weight.scalar_type());
  for_type_of(weight, [&](auto type) {
    using T = decltype(type);
    constexpr int64_t kStep = Arithmetic<T>::kStep;
    const T* source = data<T>(weight);
    T* target = mutable_data<T>(packed);
    parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t k = 0; k < in; k += kStep)
          for (int64_t lane = 0; lane < kTile; ++lane)
            for (int64_t i = 0; i < kStep; ++i) {
              const int64_t row = t * kTile + lane;
              target[(t * in + k) * kTile + lane * kStep + i] = row < out ? source[row * in + k + i] : T{};
            }
    });
  });
  return packed;
}

Tensor linear(const Tensor& x, const Tensor& packed, int64_t out_features, const std::optional<Tensor>& bias,
              const std::optional<Tensor>& residual, bool as_float) {
  return product(x, out_features, bias, residual, as_float, [&]<typename T>(const T* inputs, const auto& finish) {
    multiply(inputs, x.size(0), x.stride(0), x.size(1), data<T>(packed), finish);
  });
}

Tensor linear_activated(const Tensor& x, const Tensor& packed, int64_t width, const std::optional<Tensor>& bias,
                        Activation activation, bool gated) {
  return activated_product(x, width, bias, activation, gated, [&]<typename T>(const T* inputs, const auto& finish) {
    multiply(inputs, x.size(0), x.stride(0), x.size(1), data<T>(packed), finish);
  });
}

}  // namespace kelvin
