// Matrix products for few rows: weights packed once, every output accumulated over the inputs in one fixed order.
#pragma once

#include "matrix_registers.h"
#include "pool.h"
#include "tile.h"

namespace kelvin {

#if defined(KELVIN_MATRIX_REGISTERS)

// A tile's weights as they are packed.
struct Packed {
  const BFloat16* weights;

  static constexpr int64_t span(int64_t in) { return in; }
  const BFloat16* from(int64_t) const { return weights; }
};

// All rows of a sweep by a tile, and meanwhile the next tile is asked for.
inline void multiply_in_registers(const BFloat16* x, int64_t rows, int64_t stride, int64_t in, const BFloat16* packed,
                                  const Finish& finish) {
  constexpr int64_t kSweepBytes = 1 << 20;  // of rows, which stay in the second cache beside two tiles
  const int64_t tiles = (finish.out_features + kTile - 1) / kTile, size = kTile * in, row_bytes = in * sizeof(BFloat16);
  const int64_t most = std::max(kSweep, kSweepBytes / row_bytes / kMatrixRows * kMatrixRows);
  parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
    MatrixRegisters registers;
    for (int64_t sweep = 0; sweep < rows; sweep += most) {
      const int64_t last = std::min(rows, sweep + most), products = (last - sweep + kMatrixRows - 1) / kMatrixRows;
      for (int64_t t = begin; t < end; ++t) {
        const Packed weights{packed + t * size};
        Ahead ahead(weights.weights + size, kTile * row_bytes, products);
        for (int64_t row = sweep; row < last; row += kMatrixRows)
          registers.multiply(std::min(kMatrixRows, last - row), x + row * stride, stride, in, weights, row, t * kTile, finish,
                             ahead);
      }
    }
  });
}

#endif

// x [rows, in], a row every `stride`, by weights that are packed by tiles, [tiles, in, 32].
template <typename T>
void multiply(const T* x, int64_t rows, int64_t stride, int64_t in, const T* packed, const Finish& finish) {
#if defined(KELVIN_MATRIX_REGISTERS)
  if constexpr (std::is_same_v<T, BFloat16>)
    if (matrix_registers()) return multiply_in_registers(x, rows, stride, in, packed, finish);
#endif
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

}  // namespace kelvin
