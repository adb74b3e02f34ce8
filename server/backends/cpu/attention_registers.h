// A block of attention in the matrix registers of AMX, for up to 16 queries at once. Caches lie as they do for
// vectors. Tokens of prompts take this way, however few they are, for its sums have other bits; the next token of a
// sequence, whose queries would fill a fifth of a register, does not.
#pragma once

#include "attention_block.h"
#include "matrix_registers.h"

namespace kelvin {

#if defined(KELVIN_MATRIX_REGISTERS)

template <typename T>
constexpr bool kAttendsInRegisters = std::is_same_v<T, BFloat16>;

// A thread's registers while it attends: sums in 0 to 3; queries or weights in 4, what they are multiplied by in 6; in 5
// and 7 half as many inputs, where no more are left. Compilers want these numbers written out.
class AttentionRegisters {
 public:
  ~AttentionRegisters() {
    if (shaped_for_ > 0) _tile_release();
  }

  // Attend from queries [rows, head_dim], each of which sees another part of the block. What comes out lies together too.
  void attend(const Shape& s, int64_t rows, const BFloat16* query, Lines<BFloat16> keys, Lines<BFloat16> values,
              const Seen* seen, Partial* partials) {
    for (int64_t r = 0; r < rows; r += kQueries) {
      attend_rows(s, std::min(kQueries, rows - r), query + r * s.head_dim, keys, values, seen + r, partials + r);
      keys.ask_no_more(), values.ask_no_more();
    }
  }

 private:
  static constexpr int64_t kQueries = 16, kTiles = 4, kInputs = kMatrixInputs, kLine = 64;

  void attend_rows(const Shape& s, int64_t rows, const BFloat16* query, const Lines<BFloat16>& keys,
                   const Lines<BFloat16>& values, const Seen* seen, Partial* partials) {
    shape(rows);
    int64_t end = 0;
    for (int64_t r = 0; r < rows; ++r) end = std::max(end, seen[r].end);
    end = (end + kLanes - 1) / kLanes * kLanes;
    for (int64_t j = 0; j < end; j += kTiles * kLanes) score(s, query, keys, j, std::min(kTiles, (end - j) / kLanes));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < seen[r].end; j += kLanes) store(scores_[r] + j, scaled(s, load(scores_[r] + j)));
      partials[r].peak = hide(scores_[r], seen[r]);
      partials[r].total = weigh(scores_[r], partials[r].peak, seen[r].end, weights_[r]);
      for (int64_t j = (seen[r].end + kLanes - 1) / kLanes * kLanes; j < end; j += kLanes)
        store(weights_[r] + j, Floats{});
    }
    for (int64_t d = 0; d < s.head_dim; d += kTiles * kLanes)
      add_values(s, values, end, d, std::min(kTiles, (s.head_dim - d) / kLanes), partials[0].out + d);
  }

  void shape(int64_t rows) {
    if (rows == shaped_for_) return;
    RegisterShapes shapes;
    for (int i = 0; i < 8; ++i) {
      shapes.rows[i] = static_cast<uint8_t>(i == 6 ? 16 : i == 7 ? 8 : rows);
      shapes.bytes[i] = i == 5 ? kLine / 2 : kLine;
    }
    _tile_loadconfig(&shapes);
    shaped_for_ = rows;
  }

// Add inputs times each of `count` tiles to a sum of its own.
#define KELVIN_ADD_TILES(inputs, tile, from, apart, stride)                     \
  do {                                                                          \
    _tile_loadd(tile, from, stride);                                            \
    _tile_dpbf16ps(0, inputs, tile);                                            \
    if (count > 1) {                                                            \
      _tile_loadd(tile, (from) + (apart), stride);                              \
      _tile_dpbf16ps(1, inputs, tile);                                          \
    }                                                                           \
    if (count > 2) {                                                            \
      _tile_loadd(tile, (from) + 2 * (apart), stride);                          \
      _tile_dpbf16ps(2, inputs, tile);                                          \
    }                                                                           \
    if (count > 3) {                                                            \
      _tile_loadd(tile, (from) + 3 * (apart), stride);                          \
      _tile_dpbf16ps(3, inputs, tile);                                          \
    }                                                                           \
  } while (false)

  // Scores of `count` tiles of positions from j on.
  void score(const Shape& s, const BFloat16* query, const Lines<BFloat16>& keys, int64_t j, int64_t count) {
    const bool shared = j + count * kLanes <= keys.shared;
    const BFloat16* tiles = (shared ? keys.others : keys.own) + j * s.head_dim;
    const int64_t ahead = shared ? keys.ahead_of_others : keys.ahead;
    const int64_t apart = kLanes * s.head_dim, bytes = s.head_dim * sizeof(BFloat16);
    zero();
    for (int64_t d = 0; d < s.head_dim; d += kInputs) {
      const BFloat16* lines = tiles + d * kLanes;
      const int64_t inputs = std::min(kInputs, s.head_dim - d);
      for (int64_t t = 0; t < count; ++t) ask(lines + t * apart + ahead, kLine, inputs / 2);
      asm volatile("" ::: "memory");  // compilers do not know that these instructions read what was written
      if (inputs == kInputs) {
        _tile_loadd(4, query + d, bytes);
        KELVIN_ADD_TILES(4, 6, lines, apart, kLine);
      } else {
        _tile_loadd(5, query + d, bytes);
        KELVIN_ADD_TILES(5, 7, lines, apart, kLine);
      }
    }
    keep(&scores_[0][j], kBlock, count);
  }

  // Weighted sums of `count` tiles of values' elements from d on.
  void add_values(const Shape& s, const Lines<BFloat16>& values, int64_t end, int64_t d, int64_t count, float* out) {
    constexpr int64_t kPair = 2, kApart = kLanes * kPair, kBytes = kBlock * sizeof(BFloat16);
    const int64_t stride = s.head_dim * kPair * sizeof(BFloat16);
    zero();
    for (int64_t j = 0; j < end; j += kInputs) {
      const int64_t inputs = std::min(kInputs, end - j);
      const bool shared = j + inputs <= values.shared;
      const BFloat16* lines = (shared ? values.others : values.own) + j * s.head_dim + d * kPair;
      const int64_t ahead = shared ? values.ahead_of_others : values.ahead;
      for (int64_t t = 0; t < count; ++t) ask(lines + t * kApart + ahead, stride, inputs / 2);
      asm volatile("" ::: "memory");
      if (inputs == kInputs) {
        _tile_loadd(4, &weights_[0][j], kBytes);
        KELVIN_ADD_TILES(4, 6, lines, kApart, stride);
      } else {
        _tile_loadd(5, &weights_[0][j], kBytes);
        KELVIN_ADD_TILES(5, 7, lines, kApart, stride);
      }
    }
    keep(out, s.head_dim, count);
  }

#undef KELVIN_ADD_TILES

  static void ask(const BFloat16* lines, int64_t stride, int64_t count) {
    for (int64_t line = 0; line < count; ++line)
      __builtin_prefetch(reinterpret_cast<const char*>(lines) + line * stride, 0, 2);
  }

  static void zero() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }

  // Store the sums of `count` tiles side by side, in rows of so many numbers.
  static void keep(float* out, int64_t width, int64_t count) {
    const int64_t stride = width * sizeof(float);
    _tile_stored(0, out, stride);
    if (count > 1) _tile_stored(1, out + kLanes, stride);
    if (count > 2) _tile_stored(2, out + 2 * kLanes, stride);
    if (count > 3) _tile_stored(3, out + 3 * kLanes, stride);
    asm volatile("" ::: "memory");
  }

  int64_t shaped_for_ = 0;
  alignas(64) float scores_[kQueries][kBlock];
  alignas(64) BFloat16 weights_[kQueries][kBlock];
};

#else

template <typename T>
constexpr bool kAttendsInRegisters = false;

struct AttentionRegisters {
  template <typename... Arguments>
  void attend(Arguments&&...) {}
};

#endif

}  // namespace kelvin
