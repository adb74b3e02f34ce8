// Attention over slots: each token attends to the positions of its own slot, whose number is data and not a shape.

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "arithmetic.h"
#include "kernels.h"
#include "pool.h"

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

// The positions of a block that are seen, counted from its start.
struct Seen {
  int64_t first, end;
};

// A block of a cache, keys or values. Its first positions, `shared` of them, are those of another slot too and read there,
// where they may still be in the processor's cache; what lies `ahead` is asked for line by line, for the next head.
template <typename T>
struct Lines {
  const T *own, *others;
  int64_t shared, ahead, ahead_of_others;
};

// Scores of kQueries queries against kTiles tiles of keys.
template <int64_t kQueries, int64_t kTiles, typename T>
void score(const Shape& s, const T* query, const T* keys, int64_t ahead, float (*scores)[kBlock]) {
  Floats sums[kQueries][kTiles] = {};
  for (int64_t d = 0; d < s.head_dim; d += Arithmetic<T>::kStep)
    for (int64_t t = 0; t < kTiles; ++t) {
      const T* tile = keys + (t * s.head_dim + d) * kLanes;
      __builtin_prefetch(tile + ahead, 0, 2);
      for (int64_t g = 0; g < kQueries; ++g)
        sums[g][t] = Arithmetic<T>::multiply_add(sums[g][t], query + g * s.head_dim + d, tile);
    }
  for (int64_t g = 0; g < kQueries; ++g)
    for (int64_t t = 0; t < kTiles; ++t) {
      Floats scaled = sums[g][t] * s.scale;
      if (s.softcap > 0)
        for (int64_t i = 0; i < kLanes; ++i) scaled[i] = std::tanh(scaled[i] / s.softcap) * s.softcap;
      store(scores[g] + t * kLanes, scaled);
    }
}

// Hide what is not seen, and return the greatest score; NaN where there is one.
float hide(float* scores, Seen seen) {
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
  const auto score_tiles = [&]<int64_t kCount>(int64_t j) {
    const bool shared = j + kCount * kLanes <= keys.shared;
    score<kQueries, kCount>(s, query, (shared ? keys.others : keys.own) + j * s.head_dim,
                            shared ? keys.ahead_of_others : keys.ahead, reinterpret_cast<float(*)[kBlock]>(&scores[0][j]));
  };
  int64_t j = 0;
  for (; j + (kTiles - 1) * kLanes < seen.end; j += kTiles * kLanes) score_tiles.template operator()<kTiles>(j);
  for (; j < seen.end; j += kLanes) score_tiles.template operator()<1>(j);
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

// Turn a head to its position; `turned` is room to work in.
template <typename T>
void read_head(const Shape& s, const Rotation& rotation, const T* source, int64_t position, float* turned, T* out) {
  for (int64_t d = 0; d < s.head_dim; d += kLanes) store(turned + d, load(source + d));
  const float *cos = rotation.cos + position * rotation.half, *sin = rotation.sin + position * rotation.half;
  float *first = turned, *second = turned + rotation.half;
  int64_t i = 0;
  for (; i + kLanes <= rotation.half; i += kLanes) {
    const Floats x = load(first + i), y = load(second + i), c = load(cos + i), n = load(sin + i);
    store(first + i, x * c - y * n);
    store(second + i, y * c + x * n);
  }
  for (; i < rotation.half; ++i) {
    const float x = first[i], y = second[i];
    first[i] = x * cos[i] - y * sin[i];
    second[i] = y * cos[i] + x * sin[i];
  }
  for (int64_t d = 0; d < s.head_dim; d += kLanes) store(out + d, load(turned + d));
}

// The cache of a slot's head. Keys lie in tiles of 16 positions, so that one vector holds the same elements of 16 keys;
// values lie position by position. What is multiplied together lies together: kStep elements of a key, or the same
// element of kStep values.
template <typename T>
void write_key(const T* head, int64_t position, int64_t head_dim, T* cache) {
  constexpr int64_t kStep = Arithmetic<T>::kStep;
  T* column = cache + position / kLanes * kLanes * head_dim + position % kLanes * kStep;
  for (int64_t d = 0; d < head_dim; d += kStep) std::memcpy(column + d * kLanes, head + d, kStep * sizeof(T));
}

template <typename T>
void write_value(const T* head, int64_t position, int64_t head_dim, T* cache) {
  constexpr int64_t kStep = Arithmetic<T>::kStep;
  T* column = cache + position / kStep * kStep * head_dim + position % kStep;
  for (int64_t d = 0; d < head_dim; ++d) column[d * kStep] = head[d];
}

template <typename T>
void write_cache(const Shape& s, const Rotation& rotation, const View<T>& key, const View<T>& value, T* keys, T* values,
                 const int64_t* slots, const int64_t* positions) {
  parallel_for(s.tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> turned(s.head_dim);
    std::vector<T> head(s.head_dim);
    for (int64_t n = begin; n < end; ++n)
      for (int64_t h = 0; h < s.kv_heads; ++h) {
        const int64_t offset = (slots[n] * s.kv_heads + h) * s.max_length * s.head_dim;
        read_head(s, rotation, key.at(n, h), positions[n], turned.data(), head.data());
        write_key(head.data(), positions[n], s.head_dim, keys + offset);
        write_value(value.at(n, h), positions[n], s.head_dim, values + offset);
      }
  });
}

// Consecutive tokens of one slot, one position after another, whose blocks begin at the same place: a block of keys and
// values is read from memory once for all of them.
struct Run {
  int64_t first, count;
};

constexpr int64_t kLongestRun = 8;

int64_t first_seen(const Shape& s, int64_t position) {
  return s.window > 0 ? std::max<int64_t>(0, position + 1 - s.window) : 0;
}

int64_t first_tile(const Shape& s, int64_t position) { return first_seen(s, position) / kLanes * kLanes; }

std::vector<Run> find_runs(const Shape& s, const int64_t* slots, const int64_t* positions) {
  std::vector<Run> runs;
  for (int64_t n = 0; n < s.tokens; ++n) {
    const bool follows = n > 0 && slots[n] == slots[n - 1] && positions[n] == positions[n - 1] + 1 &&
                         first_tile(s, positions[n]) == first_tile(s, positions[n - 1]);
    if (follows && runs.back().count < kLongestRun)
      ++runs.back().count;
    else
      runs.push_back({n, 1});
  }
  return runs;
}

// Where what slots begin with may be read as well; see `attend`.
struct Prefixes {
  const int64_t *sources, *lengths;  // null: nowhere
  int64_t source(int64_t slot) const { return sources ? sources[slot] : slot; }
  int64_t length(int64_t slot) const { return lengths ? lengths[slot] / kLanes * kLanes : 0; }
};

// All runs of one head, then those of the next: slots that begin alike are read from memory once.
template <int64_t kWidth, typename T>
void attend_all(const Shape& s, const Rotation& rotation, const View<T>& query, const T* keys, const T* values,
                const int64_t* slots, const int64_t* positions, const Prefixes& prefixes, T* out) {
  const int64_t row = s.group * s.head_dim;
  const std::vector<Run> runs = find_runs(s, slots, positions);
  const int64_t num_runs = static_cast<int64_t>(runs.size());
  const auto slot_of = [&](int64_t task) { return slots[runs[task % num_runs].first]; };
  const auto place_of = [&](int64_t task, int64_t slot) {
    return (slot * s.kv_heads + task / num_runs) * s.max_length * s.head_dim;
  };
  parallel_for(num_runs * s.kv_heads, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> turned(s.head_dim), merged(kLongestRun * row), block(row);
    std::vector<T> q(kLongestRun * row);
    std::vector<Partial> into(kLongestRun * s.group), next(s.group);
    for (int64_t g = 0; g < kLongestRun * s.group; ++g) into[g].out = merged.data() + g * s.head_dim;
    for (int64_t g = 0; g < s.group; ++g) next[g].out = block.data() + g * s.head_dim;
    for (int64_t task = begin; task < end; ++task) {
      const auto [n, count] = runs[task % num_runs];
      const int64_t h = task / num_runs, slot = slot_of(task), after = std::min(task + 1, end - 1);
      const int64_t own = place_of(task, slot), ahead = place_of(after, slot_of(after)) - own;
      const int64_t others = place_of(task, prefixes.source(slot));
      const int64_t ahead_of_others = place_of(after, prefixes.source(slot_of(after))) - others;
      for (int64_t i = 0; i < count; ++i)
        for (int64_t g = 0; g < s.group; ++g)
          read_head(s, rotation, query.at(n + i, h * s.group + g), positions[n + i], turned.data(),
                    q.data() + i * row + g * s.head_dim);
      const int64_t start = first_tile(s, positions[n]);
      for (int64_t at = start; at <= positions[n + count - 1]; at += kBlock)
        for (int64_t i = std::max<int64_t>(0, at - positions[n]); i < count; ++i) {  // those that see the block at all
          Partial* target = at == start ? &into[i * s.group] : next.data();
          const int64_t last = positions[n + i] + 1;
          const Seen seen{std::max<int64_t>(0, first_seen(s, positions[n + i]) - at), std::min(kBlock, last - at)};
          const auto lines = [&](const T* cache) {
            const T* block = cache + at * s.head_dim;
            const int64_t shared = std::clamp<int64_t>(prefixes.length(slot) - at, 0, kBlock);
            return Lines<T>{block + own, block + others, shared, i == 0 ? ahead : 0, i == 0 ? ahead_of_others : 0};
          };
          attend_group<kWidth>(s, q.data() + i * row, lines(keys), lines(values), seen, s.group, target);
          if (at != start)
            for (int64_t g = 0; g < s.group; ++g) merge(s, into[i * s.group + g], next[g]);
        }
      for (int64_t i = 0; i < count; ++i)
        for (int64_t g = 0; g < s.group; ++g) {
          T* target = out + ((n + i) * s.heads + h * s.group + g) * s.head_dim;
          const Partial& done = into[i * s.group + g];
          for (int64_t d = 0; d < s.head_dim; d += kLanes) store(target + d, load(done.out + d) / done.total);
        }
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
              const Tensor& positions, double scale, int64_t window, double softcap, const std::optional<Tensor>& sources,
              const std::optional<Tensor>& lengths) {
  Shape s{query.size(0), query.size(1), key.size(1), query.size(1) / key.size(1), query.size(2), keys.size(2),
          static_cast<float>(scale), window, static_cast<float>(softcap)};
  if (s.max_length % kLanes != 0) throw std::invalid_argument("max_length must be a multiple of 16");
  const Rotation rotation = cos ? Rotation{data<float>(*cos), data<float>(*sin), cos->size(1)} : Rotation{};
  const Prefixes prefixes = sources && lengths ? Prefixes{data<int64_t>(*sources), data<int64_t>(*lengths)} : Prefixes{};
  Tensor out = empty(query.sizes(), query.scalar_type());
  for_type_of(query, [&](auto type) {
    using T = decltype(type);
    const auto *slot = data<int64_t>(slots), *position = data<int64_t>(positions);
    write_cache(s, rotation, View<T>(key), View<T>(value), mutable_data<T>(keys), mutable_data<T>(values), slot,
                position);
    for_width(s.head_dim / kLanes, [&](auto width) {
      attend_all<width.value>(s, rotation, View<T>(query), data<T>(keys), data<T>(values), slot, position,
                              prefixes, mutable_data<T>(out));
    });
  });
  return out;
}

}  // namespace kelvin
