// Products in the matrix registers of AMX, where a processor has them: 16 rows by 16 outputs by 32 inputs an instruction.
// Weights lie as they do for vectors. A processor takes this way for every number of rows, for its sums have other bits.
#pragma once

#include "tile.h"

#if defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#define KELVIN_MATRIX_REGISTERS
#endif

namespace kelvin {

#if defined(KELVIN_MATRIX_REGISTERS)

constexpr int64_t kMatrixRows = 32;    // at once: two registers of rows by two of outputs
constexpr int64_t kMatrixInputs = 32;  // of one instruction

// Whether the system lets this process use them: Linux wants to be asked, once.
inline bool matrix_registers() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

// What the processor wants to be told of the registers.
struct __attribute__((packed)) RegisterShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};  // of a row
  uint8_t rows[16] = {};
};

// Bytes that are asked for while others are multiplied, before their turn: as many lines of the cache with every 32 inputs
// as bring all of them within so many products, so that memory always sends and never has to send all at once.
class Ahead {
 public:
  Ahead() = default;
  Ahead(const void* bytes, int64_t count, int64_t products)
      : at_(static_cast<const char*>(bytes)), end_(at_ + count), lines_(kMost) {
    while (lines_ > kLeast && lines_ / 2 * products >= kMost) lines_ /= 2;
  }

  // How many lines to ask for now: 32, 16, 8, 4 or none.
  int64_t lines() const { return at_ < end_ ? lines_ : 0; }

  template <int64_t kLines>
  void ask() {
#pragma GCC unroll 32
    for (int64_t line = 0; line < kLines; ++line) __builtin_prefetch(at_ + line * kLine, 0, 2);
    at_ += kLines * kLine;
  }

 private:
  static constexpr int64_t kLine = 64, kMost = kMatrixInputs * kTile * sizeof(BFloat16) / kLine, kLeast = 4;

  const char *at_ = nullptr, *end_ = nullptr;
  int64_t lines_ = 0;
};

// A thread's registers while it multiplies; given back at the end, for others need not save what nobody reads. Sums are in
// 0 and 1, of the second 16 rows in 2 and 3; inputs in 4, of the second rows in 5; weights in 6 and 7. Compilers want
// these numbers written out.
class MatrixRegisters {
 public:
  ~MatrixRegisters() { _tile_release(); }

  // Multiply up to 32 rows by one tile of weights. Arguments as for `tile_rows`, but that `weights.from(first)` points to
  // packed numbers.
  template <typename Weights>
  void multiply(int64_t rows, const BFloat16* x, int64_t stride, int64_t in, const Weights& weights, int64_t row,
                int64_t column, const Finish& finish) {
    Ahead nothing;
    shape(rows);
    accumulate<0>(rows, x, stride, in, weights, nothing);
    finish(row, rows, column, sums_);
  }

  // The same, and ask for other bytes meanwhile.
  template <typename Weights>
  void multiply(int64_t rows, const BFloat16* x, int64_t stride, int64_t in, const Weights& weights, int64_t row,
                int64_t column, const Finish& finish, Ahead& ahead) {
    const int64_t lines = ahead.lines();
    if (lines == 0) return multiply(rows, x, stride, in, weights, row, column, finish);
    shape(rows);
    if (lines == 4)
      accumulate<4>(rows, x, stride, in, weights, ahead);
    else if (lines == 8)
      accumulate<8>(rows, x, stride, in, weights, ahead);
    else if (lines == 16)
      accumulate<16>(rows, x, stride, in, weights, ahead);
    else
      accumulate<32>(rows, x, stride, in, weights, ahead);
    finish(row, rows, column, sums_);
  }

 private:
  static constexpr int64_t kRows = 16, kLine = 64;  // of a register: rows, and the bytes of each

  void shape(int64_t rows) {
    if (rows == shaped_for_) return;
    RegisterShapes shapes;
    for (int i = 0; i < 8; ++i) {
      const bool second = i == 2 || i == 3 || i == 5, weights = i == 6 || i == 7;
      const int64_t count = weights ? kRows : second ? rows - kRows : std::min(rows, kRows);
      shapes.rows[i] = static_cast<uint8_t>(std::max<int64_t>(count, 1));
      shapes.bytes[i] = kLine;
    }
    _tile_loadconfig(&shapes);
    shaped_for_ = rows;
  }

  template <int64_t kLines, typename Weights>
  void accumulate(int64_t rows, const BFloat16* x, int64_t stride, int64_t in, const Weights& weights, Ahead& ahead) {
    if (rows > kRows)
      accumulate<true, kLines>(rows, x, stride, in, weights, ahead);
    else
      accumulate<false, kLines>(rows, x, stride, in, weights, ahead);
  }

  template <bool kTwo, int64_t kLines, typename Weights>
  void accumulate(int64_t rows, const BFloat16* x, int64_t stride, int64_t in, const Weights& weights, Ahead& ahead) {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kTwo) {
      _tile_zero(2);
      _tile_zero(3);
    }
    for (int64_t first = 0; first < in; first += weights.span(in)) {
      const BFloat16* numbers = weights.from(first);
      const int64_t count = std::min(weights.span(in), in - first), whole = count / kMatrixInputs * kMatrixInputs;
      for (int64_t k = 0; k < whole; k += kMatrixInputs) {
        ahead.ask<kLines>();
        add<kTwo>(x + first + k, stride, numbers + k * kTile);
      }
      if (whole < count) add_rest<kTwo>(rows, x + first + whole, stride, numbers + whole * kTile, count - whole);
    }
    constexpr int64_t kStride = kTile * sizeof(float);
    _tile_stored(0, sums_, kStride);
    _tile_stored(1, sums_ + kLanes, kStride);
    if constexpr (kTwo) {
      _tile_stored(2, sums_ + kRows * kTile, kStride);
      _tile_stored(3, sums_ + kRows * kTile + kLanes, kStride);
    }
  }

  template <bool kTwo>
  void add(const BFloat16* x, int64_t stride, const BFloat16* weights) {
    const int64_t bytes = stride * sizeof(BFloat16);
    asm volatile("" ::: "memory");  // compilers do not know that these instructions read what was written
    _tile_loadd(4, x, bytes);
    _tile_loadd(6, weights, 2 * kLine);
    _tile_loadd(7, weights + kTile, 2 * kLine);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTwo) {
      _tile_loadd(5, x + kRows * stride, bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }

  // The last inputs, where they are fewer than an instruction takes: zeros for the others, on both sides.
  template <bool kTwo>
  void add_rest(int64_t rows, const BFloat16* x, int64_t stride, const BFloat16* weights, int64_t count) {
    BFloat16 inputs[kMatrixRows * kMatrixInputs] = {}, others[kMatrixInputs * kTile] = {};
    for (int64_t r = 0; r < rows; ++r) std::memcpy(inputs + r * kMatrixInputs, x + r * stride, count * sizeof(BFloat16));
    std::memcpy(others, weights, count * kTile * sizeof(BFloat16));
    add<kTwo>(inputs, kMatrixInputs, others);
  }

  int64_t shaped_for_ = 0;
  alignas(64) float sums_[kMatrixRows * kTile];
};

#else

inline bool matrix_registers() { return false; }

#endif

}  // namespace kelvin
