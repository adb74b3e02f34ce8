// Matrix products for few rows: weights packed once, every output accumulated over the inputs in one fixed order.

#include "kernels.h"
#include "pool.h"
#include "tile.h"

namespace kelvin {
namespace {

template <typename T, typename Out>
void multiply(const T* x, int64_t rows, int64_t stride, int64_t in, const T* packed, const Epilogue<T, Out>& finish) {
  constexpr int64_t kStepBytes = Arithmetic<T>::kStep * kTile * sizeof(T);
  const int64_t tiles = (finish.out_features + kTile - 1) / kTile;
  parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t sweep = 0; sweep < rows; sweep += kSweep)
      for (int64_t t = begin; t < end; ++t) {
        const T* weights = packed + t * kTile * in;
        const Numbers<T, kStepBytes> numbers{weights, weights + kTile * in};
        for (int64_t row = sweep; row < std::min(rows, sweep + kSweep); row += kRows)
          tile<T>(std::min(kRows, std::min(rows, sweep + kSweep) - row), x + row * stride, stride, in, numbers, row,
                  t * kTile, finish);
      }
  });
}

}  // namespace

Tensor pack(const Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1), tiles = (out + kTile - 1) / kTile;
  Tensor packed = torch::stable::new_empty(weight, {tiles * kTile * in});
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

}  // namespace kelvin
