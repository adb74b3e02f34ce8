// Attention over slots: each token attends to the positions of its own slot, whose number is data and not a shape.

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "attention_registers.h"
#include "kernels.h"
#include "pool.h"

namespace kelvin {
namespace {

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

constexpr int64_t kLongestRun = 16;

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

// A thread's room for the queries of a run and one head of keys, and for what they come to.
template <int64_t kWidth, typename T>
class Attention {
 public:
  explicit Attention(const Shape& s)
      : s_(s), turned_(s.head_dim), queries_(most() * s.head_dim), seen_(most()), sums_(s), next_(s) {}

  // Begin with the tokens of a run, `head` being that of the keys.
  void read(const Rotation& rotation, const View<T>& query, const int64_t* positions, Run run, int64_t head) {
    run_ = run, head_ = head, positions_ = positions + run.first, start_ = first_tile(s_, positions_[0]);
    for (int64_t i = 0; i < run.count; ++i)
      for (int64_t g = 0; g < s_.group; ++g)
        read_head(s_, rotation, query.at(run.first + i, head * s_.group + g), positions_[i], turned_.data(),
                  queries_.data() + (i * s_.group + g) * s_.head_dim);
  }

  int64_t start() const { return start_; }
  int64_t end() const { return positions_[run_.count - 1] + 1; }

  // Attend to the block that begins at a position: the first at `start`, then one after the other.
  void attend(int64_t at, const Lines<T>& keys, const Lines<T>& values) {
    const int64_t skipped = std::max<int64_t>(0, at - positions_[0]);  // tokens that see nothing of it
    const int64_t first = skipped * s_.group, rows = run_.count * s_.group - first;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t position = positions_[skipped + r / s_.group];
      seen_[r] = {std::max<int64_t>(0, first_seen(s_, position) - at), std::min(kBlock, position + 1 - at)};
    }
    Partial* partials = (at == start_ ? sums_ : next_).rows.data() + first;
    attend_to(rows, queries_.data() + first * s_.head_dim, keys, values, partials);
    if (at != start_)
      for (int64_t r = 0; r < rows; ++r) merge(s_, sums_.rows[first + r], partials[r]);
  }

  // Write the results, [tokens, heads, head_dim].
  void write(T* out) const {
    for (int64_t i = 0; i < run_.count; ++i)
      for (int64_t g = 0; g < s_.group; ++g) {
        T* target = out + ((run_.first + i) * s_.heads + head_ * s_.group + g) * s_.head_dim;
        const Partial& done = sums_.rows[i * s_.group + g];
        for (int64_t d = 0; d < s_.head_dim; d += kLanes) store(target + d, load(done.out + d) / done.total);
      }
  }

 private:
  struct Sums {
    explicit Sums(const Shape& s) : numbers(kLongestRun * s.group * s.head_dim), rows(kLongestRun * s.group) {
      for (size_t r = 0; r < rows.size(); ++r) rows[r].out = numbers.data() + r * s.head_dim;
    }
    std::vector<float> numbers;
    std::vector<Partial> rows;
  };

  int64_t most() const { return kLongestRun * s_.group; }

  void attend_to(int64_t rows, const T* query, Lines<T> keys, Lines<T> values, Partial* partials) {
    if constexpr (kAttendsInRegisters<T>)
      if (s_.prompts && matrix_registers())
        return registers_.attend(s_, rows, query, keys, values, seen_.data(), partials);
    for (int64_t r = 0; r < rows; r += s_.group) {
      attend_group<kWidth>(s_, query + r * s_.head_dim, keys, values, seen_[r], s_.group, partials + r);
      keys.ask_no_more(), values.ask_no_more();
    }
  }

  const Shape& s_;
  Run run_{};
  int64_t head_ = 0, start_ = 0;
  const int64_t* positions_ = nullptr;
  std::vector<float> turned_;
  std::vector<T> queries_;
  std::vector<Seen> seen_;
  Sums sums_, next_;
  AttentionRegisters registers_;
};

// All runs of one head, then those of the next: slots that begin alike are read from memory once.
template <int64_t kWidth, typename T>
void attend_all(const Shape& s, const Rotation& rotation, const View<T>& query, const T* keys, const T* values,
                const int64_t* slots, const int64_t* positions, const Prefixes& prefixes, T* out) {
  const std::vector<Run> runs = find_runs(s, slots, positions);
  const int64_t num_runs = static_cast<int64_t>(runs.size());
  const auto slot_of = [&](int64_t task) { return slots[runs[task % num_runs].first]; };
  const auto place_of = [&](int64_t task, int64_t slot) {
    return (slot * s.kv_heads + task / num_runs) * s.max_length * s.head_dim;
  };
  parallel_for(num_runs * s.kv_heads, 1, [&](int64_t begin, int64_t end) {
    Attention<kWidth, T> attention(s);
    for (int64_t task = begin; task < end; ++task) {
      attention.read(rotation, query, positions, runs[task % num_runs], task / num_runs);
      const int64_t slot = slot_of(task), source = prefixes.source(slot), after = std::min(task + 1, end - 1);
      const int64_t own = place_of(task, slot), others = place_of(task, source);
      const int64_t ahead = place_of(after, slot_of(after)) - own;
      const int64_t ahead_of_others = place_of(after, prefixes.source(slot_of(after))) - others;
      for (int64_t at = attention.start(); at < attention.end(); at += kBlock) {
        const int64_t shared = std::clamp<int64_t>(prefixes.length(slot) - at, 0, kBlock);
        const auto lines = [&](const T* cache) {
          const T* block = cache + at * s.head_dim;
          return Lines<T>{block + own, block + others, shared, ahead, ahead_of_others};
        };
        attention.attend(at, lines(keys), lines(values));
      }
      attention.write(out);
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
              const std::optional<Tensor>& lengths, bool prompts) {
  Shape s{query.size(0), query.size(1), key.size(1), query.size(1) / key.size(1), query.size(2), keys.size(2),
          static_cast<float>(scale), window, static_cast<float>(softcap), prompts};
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
