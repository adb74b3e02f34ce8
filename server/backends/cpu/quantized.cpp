// Matrix products with weights of eight bits, which become numbers in the registers, or once for many rows.

#include <cmath>
#include <vector>

#include "codes.h"
#include "kernels.h"
#include "matrix_registers.h"
#include "pool.h"
#include "results.h"

namespace kelvin {
namespace {

constexpr int64_t kAhead = 8 * 1024;  // bytes that are asked for before their turn: what memory sends while it answers

// A tile's weights, group by group.
template <typename T>
struct Codes {
  const uint8_t* groups;

  static constexpr int64_t span(int64_t) { return kGroup; }
  Group<T> from(int64_t first) const {
    const uint8_t* group = groups + first / kGroup * kGroupBytes;
    for (int64_t line = 0; line < kGroupBytes; line += 64) __builtin_prefetch(group + kAhead + line, 0, 2);
    return Group<T>(group);
  }
};

// Write the numbers of inputs from `begin`, where a group begins, to `end`.
template <typename T>
void widen_tile(const Codes<T>& codes, int64_t begin, int64_t end, T* numbers) {
  for (int64_t first = begin; first < end; first += kGroup) {
    const Group<T> group = codes.from(first);
    for (int64_t k = 0; k < std::min(kGroup, end - first); k += Arithmetic<T>::kStep) {
      const Step<T> step = group(k);
      std::memcpy(numbers + (first - begin + k) * kTile, &step, sizeof step);
    }
  }
}

template <typename T>
T* room_for(int64_t in) {
  static thread_local std::vector<T> room;
  if (room.size() < static_cast<size_t>(in * kTile)) room.resize(in * kTile);
  return room.data();
}

#if defined(KELVIN_MATRIX_REGISTERS)

// A tile's weights that become numbers a span at a time, which the first cache holds.
struct InSpans {
  Codes<BFloat16> codes;
  int64_t in;
  BFloat16* room;

  static constexpr int64_t span(int64_t) { return 8 * kGroup; }
  const BFloat16* from(int64_t first) const {
    widen_tile(codes, first, std::min(in, first + span(in)), room);
    return room;
  }
};

// A tile's weights that are numbers already.
struct Widened {
  const BFloat16* numbers;

  static constexpr int64_t span(int64_t in) { return in; }
  const BFloat16* from(int64_t) const { return numbers; }
};

void multiply_in_registers(const BFloat16* x, int64_t rows, int64_t stride, int64_t in, const uint8_t* packed,
                           const Finish& finish) {
  const int64_t tiles = (finish.out_features + kTile - 1) / kTile, tile_bytes = groups_of(in) * kGroupBytes;
  parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
    BFloat16* room = room_for<BFloat16>(in);
    MatrixRegisters registers;
    for (int64_t sweep = 0; sweep < rows; sweep += kSweep) {
      const int64_t last = std::min(rows, sweep + kSweep);
      for (int64_t t = begin; t < end; ++t) {
        const Codes<BFloat16> codes{packed + t * tile_bytes};
        if (last - sweep <= kMatrixRows) {
          registers.multiply(last - sweep, x + sweep * stride, stride, in, InSpans{codes, in, room}, sweep, t * kTile,
                             finish);
          continue;
        }
        widen_tile(codes, 0, in, room);
        for (int64_t row = sweep; row < last; row += kMatrixRows)
          registers.multiply(std::min(kMatrixRows, last - row), x + row * stride, stride, in, Widened{room}, row,
                             t * kTile, finish);
      }
    }
  });
}

#endif

template <typename T>
void multiply(const T* x, int64_t rows, int64_t stride, int64_t in, const uint8_t* packed, const Finish& finish) {
#if defined(KELVIN_MATRIX_REGISTERS)
  if constexpr (std::is_same_v<T, BFloat16>)
    if (matrix_registers()) return multiply_in_registers(x, rows, stride, in, packed, finish);
#endif
  const int64_t tiles = (finish.out_features + kTile - 1) / kTile, tile_bytes = groups_of(in) * kGroupBytes;
  parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
    T* room = room_for<T>(in);
    for (int64_t sweep = 0; sweep < rows; sweep += kSweep) {
      const int64_t last = std::min(rows, sweep + kSweep);
      for (int64_t t = begin; t < end; ++t) {
        const Codes<T> codes{packed + t * tile_bytes};
        if (last - sweep <= kRows) {
          tile<T>(last - sweep, x + sweep * stride, stride, in, codes, sweep, t * kTile, finish);
          continue;
        }
        widen_tile(codes, 0, in, room);
        const Numbers<T, Arithmetic<T>::kStep * kTile> numbers{room, codes.groups + tile_bytes};
        for (int64_t row = sweep; row < last; row += kRows)
          tile<T>(std::min(kRows, last - row), x + row * stride, stride, in, numbers, row, t * kTile, finish);
      }
    }
  });
}

// The next bfloat16 that is no smaller than x ≥ 0, so that no code exceeds the largest.
BFloat16 round_up(float x) { return {static_cast<uint16_t>((static_cast<uint32_t>(bits_of(x)) + 0xFFFF) >> 16)}; }

template <typename T>
void quantize(const T* weights, int64_t count, int64_t lane, uint8_t* group) {
  constexpr int64_t kStep = Arithmetic<T>::kStep;
  float most = 0.0f;
  for (int64_t k = 0; k < count; ++k) most = std::max(most, std::abs(value_of(weights[k])));
  const BFloat16 scale = round_up(most / kLargestCode);
  reinterpret_cast<BFloat16*>(group)[lane] = scale;
  for (int64_t k = 0; k < count; ++k) {
    const float code = most > 0.0f ? std::nearbyint(value_of(weights[k]) / value_of(scale)) : 0.0f;
    group[kScaleBytes + k / kStep * kStep * kTile + lane * kStep + k % kStep] = static_cast<int8_t>(code);
  }
}

}  // namespace

Tensor pack_int8(const Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1), tiles = (out + kTile - 1) / kTile, groups = groups_of(in);
  Tensor packed = empty({tiles * groups * kGroupBytes}, ScalarType::Byte);
  uint8_t* target = mutable_data<uint8_t>(packed);
  std::fill_n(target, packed.size(0), 0);
  for_type_of(weight, [&](auto type) {
    using T = decltype(type);
    const T* source = data<T>(weight);
    parallel_for(out, kTile, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        for (int64_t group = 0; group < groups; ++group)
          quantize(source + row * in + group * kGroup, std::min(kGroup, in - group * kGroup), row % kTile,
                   target + (row / kTile * groups + group) * kGroupBytes);
    });
  });
  return packed;
}

Tensor linear_int8(const Tensor& x, const Tensor& packed, int64_t out_features, const std::optional<Tensor>& bias,
                   const std::optional<Tensor>& residual, bool as_float) {
  return product(x, out_features, bias, residual, as_float, [&](const auto* inputs, const auto& finish) {
    multiply(inputs, x.size(0), x.stride(0), x.size(1), data<uint8_t>(packed), finish);
  });
}

Tensor linear_int8_activated(const Tensor& x, const Tensor& packed, int64_t width, const std::optional<Tensor>& bias,
                             Activation activation, bool gated) {
  return activated_product(x, width, bias, activation, gated, [&](const auto* inputs, const auto& finish) {
    multiply(inputs, x.size(0), x.stride(0), x.size(1), data<uint8_t>(packed), finish);
  });
}

}  // namespace kelvin
