// Attention over slots: each token attends to the positions of its own slot, whose number is data and not a shape.

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

constexpr int64_t kBlock = 128;  // positions whose softmax is computed in one piece

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

// Add each vector's lanes pairwise at a distance of kWidth; where a lane's index has that bit, the result is b's.
template <int32_t kWidth>
Floats fold(Floats a, Floats b) {
  constexpr Ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Ints source = ((lane & kWidth) / kWidth) * static_cast<int32_t>(kLanes);
  return __builtin_shuffle(a, b, lane + source) + __builtin_shuffle(a, b, (lane ^ kWidth) + source);
}

// Lane i of the result is the sum over vector i, always added in the same tree.
Floats sum_each(Floats (&v)[kLanes]) {
  for (int64_t i = 0; i < 8; ++i) v[i] = fold<1>(v[2 * i], v[2 * i + 1]);
  for (int64_t i = 0; i < 4; ++i) v[i] = fold<2>(v[2 * i], v[2 * i + 1]);
  for (int64_t i = 0; i < 2; ++i) v[i] = fold<4>(v[2 * i], v[2 * i + 1]);
  return fold<8>(v[0], v[1]);
}

// The scores of kQueries queries against up to kBlock keys, and their peaks. kWidth: head_dim / kLanes.
template <int64_t kWidth, int64_t kQueries, typename T>
void score(const Shape& s, const float* query, const T* keys, int64_t count, float (*scores)[kBlock], float* peaks) {
  Floats highest[kQueries];
  for (Floats& peak : highest) peak = Floats{} - kInf;
  for (int64_t j = 0; j < count; j += kLanes) {
    Floats products[kQueries][kLanes] = {};
    for (int64_t i = 0; i < std::min(kLanes, count - j); ++i)
      for (int64_t d = 0; d < kWidth; ++d) {
        const Floats key = load(keys + ((j + i) * kWidth + d) * kLanes);
        for (int64_t g = 0; g < kQueries; ++g) products[g][i] += load(query + (g * kWidth + d) * kLanes) * key;
      }
    for (int64_t g = 0; g < kQueries; ++g) {
      Floats sums = sum_each(products[g]);
      if (s.softcap > 0)
        for (int64_t i = 0; i < kLanes; ++i) sums[i] = std::tanh(sums[i] / s.softcap) * s.softcap;
      for (int64_t i = count - j; i < kLanes; ++i) sums[i] = -kInf;
      store(scores[g] + j, sums);
      highest[g] = (sums > highest[g] || sums != sums) ? sums : highest[g];
    }
  }
  for (int64_t g = 0; g < kQueries; ++g) {
    peaks[g] = highest[g][0];
    for (int64_t i = 1; i < kLanes; ++i)
      peaks[g] = (highest[g][i] > peaks[g] || highest[g][i] != highest[g][i]) ? highest[g][i] : peaks[g];
  }
}

template <int64_t kWidth, int64_t kQueries, typename T>
void attend_block(const Shape& s, const float* query, const T* keys, const T* values, int64_t count,
                  Partial* partials) {
  alignas(64) float scores[kQueries][kBlock];
  float peaks[kQueries];
  score<kWidth, kQueries>(s, query, keys, count, scores, peaks);
  for (int64_t g = 0; g < kQueries; ++g) {
    Floats totals{};
    for (int64_t j = 0; j < count; j += kLanes) {
      const Floats e = exp_negative(load(scores[g] + j) - peaks[g]);
      store(scores[g] + j, e);
      totals += e;
    }
    partials[g].peak = peaks[g];
    partials[g].total = sum(totals);
  }
  Floats acc[kQueries][kWidth] = {};
  for (int64_t j = 0; j < count; ++j)
    for (int64_t d = 0; d < kWidth; ++d) {
      const Floats value = load(values + (j * kWidth + d) * kLanes);
      for (int64_t g = 0; g < kQueries; ++g) acc[g][d] += scores[g][j] * value;
    }
  for (int64_t g = 0; g < kQueries; ++g)
    for (int64_t d = 0; d < kWidth; ++d) store(partials[g].out + d * kLanes, acc[g][d]);
}

// The query heads of one KV head, as many at once as accumulators fit the registers: each key is loaded once for all.
template <int64_t kWidth, int64_t kQueries = std::max<int64_t>(1, std::min<int64_t>(4, 16 / kWidth)), typename T>
void attend_group(const Shape& s, const float* query, const T* keys, const T* values, int64_t count, int64_t group,
                  Partial* partials) {
  for (; group >= kQueries; group -= kQueries, query += kQueries * s.head_dim, partials += kQueries)
    attend_block<kWidth, kQueries>(s, query, keys, values, count, partials);
  if constexpr (kQueries > 1) attend_group<kWidth, kQueries - 1>(s, query, keys, values, count, group, partials);
}

void merge(const Shape& s, Partial& into, const Partial& next) {
  const float peak = std::max(into.peak, next.peak);
  const float a = sum(exp_negative(Floats{} + (into.peak - peak))) / kLanes;
  const float b = sum(exp_negative(Floats{} + (next.peak - peak))) / kLanes;
  for (int64_t d = 0; d < s.head_dim; d += kLanes)
    store(into.out + d, load(into.out + d) * a + load(next.out + d) * b);
  into.total = into.total * a + next.total * b;
  into.peak = peak;
}

// [tokens, heads, head_dim] with any strides but the last, which is 1: a part of a wider matrix needs no copy.
template <typename T>
struct View {
  const T* start;
  int64_t token_stride, head_stride;
  explicit View(const Tensor& t)
      : start(data<T>(t)), token_stride(t.stride(0)), head_stride(t.stride(1)) {}
  const T* at(int64_t token, int64_t head) const { return start + token * token_stride + head * head_stride; }
};

// Rotary angles, cos and sin [max_length, half]: element i of a head turns with element i + half; later ones stay.
struct Rotation {
  const float *cos, *sin;
  int64_t half;
};

template <typename T>
void read_head(const Shape& s, const Rotation& rotation, const T* source, int64_t position, float* out) {
  for (int64_t d = 0; d < s.head_dim; d += kLanes) store(out + d, load(source + d));
  const float *cos = rotation.cos + position * rotation.half, *sin = rotation.sin + position * rotation.half;
  for (int64_t i = 0; i < rotation.half; ++i) {
    const float x = out[i], y = out[i + rotation.half];
    out[i] = x * cos[i] - y * sin[i];
    out[i + rotation.half] = y * cos[i] + x * sin[i];
  }
}

template <typename T>
void write_cache(const Shape& s, const Rotation& rotation, const View<T>& fresh, T* cache, const int64_t* slots,
                 const int64_t* positions) {
  parallel_for(s.tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> head(s.head_dim);
    for (int64_t n = begin; n < end; ++n)
      for (int64_t h = 0; h < s.kv_heads; ++h) {
        T* target = cache + ((slots[n] * s.kv_heads + h) * s.max_length + positions[n]) * s.head_dim;
        read_head(s, rotation, fresh.at(n, h), positions[n], head.data());
        for (int64_t d = 0; d < s.head_dim; d += kLanes) store(target + d, load(head.data() + d));
      }
  });
}

template <int64_t kWidth, typename T>
void attend_all(const Shape& s, const Rotation& rotation, const View<T>& query, const T* keys, const T* values, const int64_t* slots,
                const int64_t* positions, T* out) {
  const int64_t row = s.group * s.head_dim;
  parallel_for(s.tokens * s.kv_heads, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> q(row), merged(row), block(row);
    std::vector<Partial> into(s.group), next(s.group);
    for (int64_t g = 0; g < s.group; ++g) {
      into[g].out = merged.data() + g * s.head_dim;
      next[g].out = block.data() + g * s.head_dim;
    }
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / s.kv_heads, h = task % s.kv_heads;
      const int64_t offset = (slots[n] * s.kv_heads + h) * s.max_length * s.head_dim;
      const int64_t last = positions[n] + 1;
      const int64_t first = s.window > 0 ? std::max<int64_t>(0, last - s.window) : 0;
      for (int64_t g = 0; g < s.group; ++g)
        read_head(s, rotation, query.at(n, h * s.group + g), positions[n], q.data() + g * s.head_dim);
      for (float& element : q) element *= s.scale;
      for (int64_t at = first; at < last; at += kBlock) {
        auto& target = at == first ? into : next;
        const int64_t start = offset + at * s.head_dim, count = std::min(kBlock, last - at);
        attend_group<kWidth>(s, q.data(), keys + start, values + start, count, s.group, target.data());
        if (at != first)
          for (int64_t g = 0; g < s.group; ++g) merge(s, into[g], next[g]);
      }
      T* target = out + (n * s.heads + h * s.group) * s.head_dim;
      for (int64_t g = 0; g < s.group; ++g)
        for (int64_t d = 0; d < s.head_dim; d += kLanes)
          store(target + g * s.head_dim + d, load(into[g].out + d) / into[g].total);
    }
  });
}

// Call `run` with the head's width in vectors as a constant, so that its accumulators are registers.
template <typename F>
void for_width(int64_t width, F run) {
  switch (width) {
    case 1: return run(std::integral_constant<int64_t, 1>{});
    case 2: return run(std::integral_constant<int64_t, 2>{});
    case 3: return run(std::integral_constant<int64_t, 3>{});
    case 4: return run(std::integral_constant<int64_t, 4>{});
    case 5: return run(std::integral_constant<int64_t, 5>{});
    case 6: return run(std::integral_constant<int64_t, 6>{});
    case 8: return run(std::integral_constant<int64_t, 8>{});
    case 16: return run(std::integral_constant<int64_t, 16>{});
    default: throw std::invalid_argument("head_dim must be 16, 32, 48, 64, 80, 96, 128 or 256");
  }
}

}  // namespace

Tensor attend(const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& cos,
              const std::optional<Tensor>& sin, Tensor keys, Tensor values, const Tensor& slots,
              const Tensor& positions, double scale, int64_t window, double softcap) {
  Shape s{query.size(0), query.size(1), key.size(1), query.size(1) / key.size(1), query.size(2), keys.size(2),
          static_cast<float>(scale), window, static_cast<float>(softcap)};
  const Rotation rotation = cos ? Rotation{data<float>(*cos), data<float>(*sin), cos->size(1)} : Rotation{};
  Tensor out = torch::stable::new_empty(query, query.sizes());
  for_type_of(query, [&](auto type) {
    using T = decltype(type);
    const auto *slot = data<int64_t>(slots), *position = data<int64_t>(positions);
    write_cache(s, rotation, View<T>(key), mutable_data<T>(keys), slot, position);
    write_cache(s, Rotation{}, View<T>(value), mutable_data<T>(values), slot, position);
    for_width(s.head_dim / kLanes, [&](auto width) {
      attend_all<width.value>(s, rotation, View<T>(query), data<T>(keys), data<T>(values), slot, position,
                              mutable_data<T>(out));
    });
  });
  return out;
}

}  // namespace kelvin
