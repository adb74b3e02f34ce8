// A block of attention: what queries see of up to 128 positions, by vectors.
#pragma once

#include <algorithm>
#include <cmath>

#include "arithmetic.h"

namespace kelvin {

constexpr int64_t kBlock = 128;  // positions whose softmax is computed in one piece

struct Shape {
  int64_t tokens, heads, kv_heads, group, head_dim, max_length;
  float scale;
  int64_t window;  // 0: every earlier position
  float softcap;   // 0: none
  bool prompts;    // whether tokens are of prompts
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

// A block of a cache, keys or values. Its first positions, `shared` of them, are those of another slot too and read
// there, where they may still be in the processor's cache; what lies `ahead` is asked for line by line, for the next head.
template <typename T>
struct Lines {
  const T *own, *others;
  int64_t shared, ahead, ahead_of_others;

  void ask_no_more() { ahead = ahead_of_others = 0; }
};

inline Floats scaled(const Shape& s, Floats score) {
  score *= s.scale;
  if (s.softcap > 0)
    for (int64_t i = 0; i < kLanes; ++i) score[i] = std::tanh(score[i] / s.softcap) * s.softcap;
  return score;
}

// Scores of kQueries queries against kTiles tiles of keys, which begin at position j of a block.
template <int64_t kQueries, int64_t kTiles, typename T>
void score(const Shape& s, const T* query, const Lines<T>& keys, int64_t j, float (*scores)[kBlock]) {
  const T* tiles[kTiles];
  int64_t ahead[kTiles];
  for (int64_t t = 0; t < kTiles; ++t, j += kLanes) {
    const bool shared = j + kLanes <= keys.shared;
    tiles[t] = (shared ? keys.others : keys.own) + j * s.head_dim;
    ahead[t] = shared ? keys.ahead_of_others : keys.ahead;
  }
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
void attend_block(const Shape& s, const T* query, const Lines<T>& keys, const Lines<T>& values, Seen seen,
                  Partial* partials) {
  constexpr int64_t kTiles = 4, kStep = Arithmetic<T>::kStep;  // tiles at once: enough sums to hide their latency
  alignas(64) float scores[kQueries][kBlock];
  alignas(64) T weights[kQueries][kBlock];
  int64_t j = 0;
  for (; j + (kTiles - 1) * kLanes < seen.end; j += kTiles * kLanes)
    score<kQueries, kTiles>(s, query, keys, j, reinterpret_cast<float(*)[kBlock]>(&scores[0][j]));
  for (; j < seen.end; j += kLanes)
    score<kQueries, 1>(s, query, keys, j, reinterpret_cast<float(*)[kBlock]>(&scores[0][j]));
  for (int64_t g = 0; g < kQueries; ++g) {
    partials[g].peak = hide(scores[g], seen);
    partials[g].total = weigh(scores[g], partials[g].peak, seen.end, weights[g]);
  }
  Floats sums[kQueries][kWidth] = {};
  const auto add_values = [&](const T* lines, int64_t begin, int64_t end, int64_t ahead) {
    for (int64_t j = begin; j < end; j += kStep)
      for (int64_t d = 0; d < kWidth; ++d) {
        const T* line = lines + j * s.head_dim + d * kLanes * kStep;
        __builtin_prefetch(line + ahead, 0, 2);
        for (int64_t g = 0; g < kQueries; ++g)
          sums[g][d] = Arithmetic<T>::multiply_add(sums[g][d], weights[g] + j, line);
      }
  };
  const int64_t shared = std::min(values.shared, seen.end);
  add_values(values.others, 0, shared, values.ahead_of_others);
  add_values(values.own, shared, seen.end, values.ahead);
  for (int64_t g = 0; g < kQueries; ++g)
    for (int64_t d = 0; d < kWidth; ++d) store(partials[g].out + d * kLanes, sums[g][d]);
}

// The query heads of one KV head, as many at once as accumulators fit the registers: each key is loaded once for all.
template <int64_t kWidth, int64_t kQueries = std::max<int64_t>(1, std::min<int64_t>(4, 16 / kWidth)), typename T>
void attend_group(const Shape& s, const T* query, const Lines<T>& keys, const Lines<T>& values, Seen seen,
                  int64_t group, Partial* partials) {
  for (; group >= kQueries; group -= kQueries, query += kQueries * s.head_dim, partials += kQueries)
    attend_block<kWidth, kQueries>(s, query, keys, values, seen, partials);
  if constexpr (kQueries > 1) attend_group<kWidth, kQueries - 1>(s, query, keys, values, seen, group, partials);
}

}  // namespace kelvin
