// A block of attention: what queries see of some positions, by vectors.
#pragma once

#include <algorithm>
#include <cmath>

#include "arithmetic.h"

namespace kelvin {

// Positions whose softmax is computed in one piece: products in matrix registers are so short that what a block costs
// beside them counts; elsewhere the first cache shall hold it while several tokens take turns.
#if defined(__AMX_BF16__)
constexpr int64_t kBlock = 256;
#else
constexpr int64_t kBlock = 128;
#endif
constexpr int64_t kQueriesAtOnce = 16;  // rows of a matrix register

struct Shape {
  int64_t tokens, heads, kv_heads, group, head_dim, max_length;
  float scale;
  int64_t window;  // 0: every earlier position
  float softcap;   // 0: none
};

// Softmax-weighted sum over one block of positions: `peak` and `total` of its scores, `out` not yet divided by `total`.
struct Partial {
  float* out;
  float peak, total;
};

// The positions of a block that are seen, counted from its start.
struct Seen {
  int64_t first, end;
};

// A block's keys or values in a slot. The first positions, `shared` of them and a multiple of 16, lie in another slot;
// the last 16 of these in the slot itself as well, for reads that go beyond.
template <typename T>
struct Lines {
  const T *own, *others;
  int64_t shared, head_dim;

  // Where positions from j on are read, `count` of them together; j is a multiple of 16.
  const T* at(int64_t j, int64_t count = kLanes) const { return (j + count <= shared ? others : own) + j * head_dim; }
};

// A block of a cache.
template <typename T>
struct Block {
  Lines<T> keys, values;
};

inline Floats scaled(const Shape& s, Floats score) {
  score *= s.scale;
  if (s.softcap > 0)
    for (int64_t i = 0; i < kLanes; ++i) score[i] = std::tanh(score[i] / s.softcap) * s.softcap;
  return score;
}

// Scores of kQueries queries against kTiles tiles of keys, which begin at position j of a block; those of the `next`
// block are asked for meanwhile.
template <int64_t kQueries, int64_t kTiles, typename T>
void score(const Shape& s, const T* query, const Lines<T>& keys, const Lines<T>& next, int64_t j,
           float (*scores)[kBlock]) {
  const T* tiles[kTiles];
  int64_t ahead[kTiles];
  for (int64_t t = 0; t < kTiles; ++t, j += kLanes) tiles[t] = keys.at(j), ahead[t] = next.at(j) - tiles[t];
  Floats sums[kQueries][kTiles] = {};
  for (int64_t d = 0; d < s.head_dim; d += Arithmetic<T>::kStep)
    for (int64_t t = 0; t < kTiles; ++t) {
      const T* tile = tiles[t] + d * kLanes;
      __builtin_prefetch(tile + ahead[t], 0, 2);
      for (int64_t g = 0; g < kQueries; ++g)
        sums[g][t] = Arithmetic<T>::multiply_add(sums[g][t], query + g * s.head_dim + d, tile);
    }
  for (int64_t g = 0; g < kQueries; ++g)
    for (int64_t t = 0; t < kTiles; ++t) store(scores[g] + t * kLanes, scaled(s, sums[g][t]));
}

// Hide what is not seen, and return the greatest score; NaN where there is one.
inline float hide(float* scores, Seen seen) {
  Floats highest = Floats{} - kInf;
  for (int64_t j = 0; j < seen.end; j += kLanes) {
    const Ints place = kLane + static_cast<int32_t>(j);
    const Ints within = (place >= static_cast<int32_t>(seen.first)) & (place < static_cast<int32_t>(seen.end));
    const Floats visible = within ? load(scores + j) : Floats{} - kInf;
    store(scores + j, visible);
    highest = (visible > highest || visible != visible) ? visible : highest;
  }
  float peak = highest[0];
  for (int64_t i = 1; i < kLanes; ++i) peak = (highest[i] > peak || highest[i] != highest[i]) ? highest[i] : peak;
  return peak;
}

// Turn scores into weights of the cache's type, and return the sum of these.
template <typename T>
float weigh(const float* scores, float peak, int64_t end, T* weights) {
  Floats total{};
  for (int64_t j = 0; j < end; j += kLanes) {
    store(weights + j, exp_negative(load(scores + j) - peak));
    total += load(weights + j);
  }
  return sum(total);
}

template <int64_t kWidth, int64_t kQueries, typename T>
void attend_block(const Shape& s, const T* query, const Block<T>& block, const Block<T>& next, Seen seen,
                  Partial* partials) {
  constexpr int64_t kTiles = 4, kStep = Arithmetic<T>::kStep;  // tiles at once: enough sums to hide their latency
  alignas(64) float scores[kQueries][kBlock];
  alignas(64) T weights[kQueries][kBlock];
  const auto scores_at = [&](int64_t j) { return reinterpret_cast<float(*)[kBlock]>(&scores[0][j]); };
  int64_t j = 0;
  for (; j + (kTiles - 1) * kLanes < seen.end; j += kTiles * kLanes)
    score<kQueries, kTiles>(s, query, block.keys, next.keys, j, scores_at(j));
  for (; j < seen.end; j += kLanes) score<kQueries, 1>(s, query, block.keys, next.keys, j, scores_at(j));
  for (int64_t g = 0; g < kQueries; ++g) {
    partials[g].peak = hide(scores[g], seen);
    partials[g].total = weigh(scores[g], partials[g].peak, seen.end, weights[g]);
  }
  Floats sums[kQueries][kWidth] = {};
  for (int64_t tile = 0; tile < seen.end; tile += kLanes) {
    const T* lines = block.values.at(tile);
    const int64_t ahead = next.values.at(tile) - lines;
    for (int64_t j = 0; j < std::min(kLanes, seen.end - tile); j += kStep)
      for (int64_t d = 0; d < kWidth; ++d) {
        const T* line = lines + j * s.head_dim + d * kLanes * kStep;
        __builtin_prefetch(line + ahead, 0, 2);
        for (int64_t g = 0; g < kQueries; ++g)
          sums[g][d] = Arithmetic<T>::multiply_add(sums[g][d], weights[g] + tile + j, line);
      }
  }
  for (int64_t g = 0; g < kQueries; ++g)
    for (int64_t d = 0; d < kWidth; ++d) store(partials[g].out + d * kLanes, sums[g][d]);
}

// The query heads of one KV head, as many at once as accumulators fit the registers: each key is loaded once for all.
template <int64_t kWidth, int64_t kQueries = std::max<int64_t>(1, std::min<int64_t>(4, 16 / kWidth)), typename T>
void attend_group(const Shape& s, const T* query, const Block<T>& block, const Block<T>& next, Seen seen, int64_t group,
                  Partial* partials) {
  for (; group >= kQueries; group -= kQueries, query += kQueries * s.head_dim, partials += kQueries)
    attend_block<kWidth, kQueries>(s, query, block, next, seen, partials);
  if constexpr (kQueries > 1) attend_group<kWidth, kQueries - 1>(s, query, block, next, seen, group, partials);
}

}  // namespace kelvin
