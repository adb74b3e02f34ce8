// A block of attention in the matrix registers of AMX, for up to 16 queries at once. Caches lie as they do for vectors.
// Every token takes this way where a processor has it, for its sums have other bits.
#pragma once

#include "attention_wanted.h"
#include "matrix_registers.h"

namespace kelvin {

#if defined(KELVIN_MATRIX_REGISTERS)

template <typename T>
constexpr bool kAttendsInRegisters = std::is_same_v<T, BFloat16>;

// A thread's registers while it attends: sums in 0 to 3; queries or weights in 4, what they are multiplied by in 6; in
// 5 and 7 half as many inputs, where no more are left. Compilers want these numbers written out.
class AttentionRegisters {
 public:
  ~AttentionRegisters() {
    if (shaped_for_ > 0) _tile_release();
  }

  // Attend from queries [rows, head_dim], each of which sees another part of its block. The first `joint` positions are
  // the same in all blocks; what follows the first `each` rows find in blocks[0], the next ones in blocks[1] and so on.
  // More rows than 16 have the whole block in common. What comes out lies together too.
  void attend(const Shape& s, int64_t rows, int64_t each, const BFloat16* query, const Block<BFloat16>* blocks,
              int64_t joint, const Seen* seen, Wanted& wanted, Partial* partials) {
    for (int64_t r = 0; r < rows; r += kQueriesAtOnce)
      attend_rows(s, std::min(kQueriesAtOnce, rows - r), each, query + r * s.head_dim, blocks, joint, seen + r, wanted,
                  partials + r);
  }

 private:
  static constexpr int64_t kTiles = 4, kInputs = kMatrixInputs, kLine = 64, kWide = kTiles * kLanes;

  static int64_t parts(int64_t all, int64_t each) { return (all + each - 1) / each; }
  static int64_t whole_tiles(int64_t positions) { return parts(positions, kLanes) * kLanes; }

  void attend_rows(const Shape& s, int64_t rows, int64_t each, const BFloat16* query, const Block<BFloat16>* blocks,
                   int64_t joint, const Seen* seen, Wanted& wanted, Partial* partials) {
    int64_t end = 0;
    for (int64_t r = 0; r < rows; ++r) end = std::max(end, whole_tiles(seen[r].end));
    const int64_t together = std::min(joint / kInputs * kInputs, end), alone = together < end ? rows / each : 0;
    const int64_t steps = parts(together, kWide) + alone * parts(end - together, kWide);
    wanted.divide(steps * parts(s.head_dim, kInputs) + rows + 2 * steps * parts(s.head_dim, kWide));
    shape(rows);
    score(s, query, blocks[0].keys, 0, together, wanted, scores_[0]);
    if (alone > 0) shape(each);
    for (int64_t i = 0; i < alone; ++i)
      score(s, query + i * each * s.head_dim, blocks[i].keys, together, whole_tiles(seen[i * each].end), wanted,
            scores_[i * each]);
    for (int64_t r = 0; r < rows; ++r) {
      wanted.ask();
      weigh_row(s, r, seen[r], std::max(together, whole_tiles(seen[r].end)), partials[r]);
    }
    shape(rows);
    add_values(s, blocks[0].values, 0, together, wanted, weights_[0], partials[0].out);
    if (alone > 0) shape(each);
    for (int64_t i = 0; i < alone; ++i)
      add_values(s, blocks[i].values, together, whole_tiles(seen[i * each].end), wanted, weights_[i * each],
                 partials[i * each].out);
  }

  void weigh_row(const Shape& s, int64_t r, Seen seen, int64_t end, Partial& partial) {
    for (int64_t j = 0; j < seen.end; j += kLanes) store(scores_[r] + j, scaled(s, load(scores_[r] + j)));
    partial.peak = hide(scores_[r], seen);
    partial.total = weigh(scores_[r], partial.peak, seen.end, weights_[r]);
    for (int64_t j = whole_tiles(seen.end); j < end; j += kLanes) store(weights_[r] + j, Floats{});
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

// Add inputs times each of `count` tiles, `from(0)` and so on, to a sum of its own.
#define KELVIN_ADD_TILES(inputs, tile, from, stride) \
  do {                                               \
    _tile_loadd(tile, from(0), stride);              \
    _tile_dpbf16ps(0, inputs, tile);                 \
    if (count > 1) {                                 \
      _tile_loadd(tile, from(1), stride);            \
      _tile_dpbf16ps(1, inputs, tile);               \
    }                                                \
    if (count > 2) {                                 \
      _tile_loadd(tile, from(2), stride);            \
      _tile_dpbf16ps(2, inputs, tile);               \
    }                                                \
    if (count > 3) {                                 \
      _tile_loadd(tile, from(3), stride);            \
      _tile_dpbf16ps(3, inputs, tile);               \
    }                                                \
  } while (false)

  // Scores of the positions from `begin` to `end`.
  void score(const Shape& s, const BFloat16* query, const Lines<BFloat16>& keys, int64_t begin, int64_t end,
             Wanted& wanted, float* scores) {
    const int64_t bytes = s.head_dim * sizeof(BFloat16);
    for (int64_t j = begin; j < end; j += kWide) {
      const int64_t count = std::min(kTiles, (end - j) / kLanes);
      zero();
      for (int64_t d = 0; d < s.head_dim; d += kInputs) {
        const auto tile = [&](int64_t t) { return keys.at(j + t * kLanes) + d * kLanes; };
        wanted.ask();
        asm volatile("" ::: "memory");  // compilers do not know that these instructions read what was written
        if (s.head_dim - d >= kInputs) {
          _tile_loadd(4, query + d, bytes);
          KELVIN_ADD_TILES(4, 6, tile, kLine);
        } else {
          _tile_loadd(5, query + d, bytes);
          KELVIN_ADD_TILES(5, 7, tile, kLine);
        }
      }
      keep(scores + j, kBlock, count);
    }
  }

  // Add the values of positions from `begin` to `end` to what those before them came to.
  void add_values(const Shape& s, const Lines<BFloat16>& values, int64_t begin, int64_t end, Wanted& wanted,
                  const BFloat16* weights, float* out) {
    constexpr int64_t kPair = 2, kBytes = kBlock * sizeof(BFloat16);
    const int64_t stride = s.head_dim * kPair * sizeof(BFloat16);
    if (begin >= end) return;
    for (int64_t d = 0; d < s.head_dim; d += kWide) {
      const int64_t count = std::min(kTiles, (s.head_dim - d) / kLanes);
      if (begin == 0)
        zero();
      else
        restore(out + d, s.head_dim, count);
      for (int64_t j = begin; j < end; j += kInputs) {
        const int64_t inputs = std::min(kInputs, end - j);
        const BFloat16* lines = values.at(j, inputs) + d * kPair;
        const auto tile = [&](int64_t t) { return lines + t * kLanes * kPair; };
        wanted.ask();
        asm volatile("" ::: "memory");
        if (inputs == kInputs) {
          _tile_loadd(4, weights + j, kBytes);
          KELVIN_ADD_TILES(4, 6, tile, stride);
        } else {
          _tile_loadd(5, weights + j, kBytes);
          KELVIN_ADD_TILES(5, 7, tile, stride);
        }
      }
      keep(out + d, s.head_dim, count);
    }
  }

#undef KELVIN_ADD_TILES

  static void zero() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }

  // Load what `keep` has stored.
  static void restore(const float* out, int64_t width, int64_t count) {
    const int64_t stride = width * sizeof(float);
    asm volatile("" ::: "memory");
    _tile_loadd(0, out, stride);
    if (count > 1) _tile_loadd(1, out + kLanes, stride);
    if (count > 2) _tile_loadd(2, out + 2 * kLanes, stride);
    if (count > 3) _tile_loadd(3, out + 3 * kLanes, stride);
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
  alignas(64) float scores_[kQueriesAtOnce][kBlock];
  alignas(64) BFloat16 weights_[kQueriesAtOnce][kBlock];
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
