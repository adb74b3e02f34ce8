// Attention over slots: each token attends to the positions of its own slot, whose number is data and not a shape.

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "attention_registers.h"
#include "attention_runs.h"
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
                 std::span<const Token> tokens) {
  parallel_for(s.tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> turned(s.head_dim);
    std::vector<T> head(s.head_dim);
    for (const Token& token : tokens.subspan(begin, end - begin))
      for (int64_t h = 0; h < s.kv_heads; ++h) {
        const int64_t offset = (token.slot * s.kv_heads + h) * s.max_length * s.head_dim;
        read_head(s, rotation, key.at(token.row, h), token.position, turned.data(), head.data());
        write_key(head.data(), token.position, s.head_dim, keys + offset);
        write_value(value.at(token.row, h), token.position, s.head_dim, values + offset);
      }
  });
}

// A thread's room for the queries of a run and one head of keys, and for what they come to.
template <int64_t kWidth, typename T>
class Attention {
 public:
  Attention(const Shape& s, const Caches<T>& caches)
      : s_(s), caches_(caches), turned_(new float[s.head_dim]), queries_(new T[most() * s.head_dim]),
        seen_(new Seen[most()]), sums_(s), further_(s) {}

  // Begin with a run, `head` being that of the keys.
  void read(const Rotation& rotation, const View<T>& query, Run run, int64_t head) {
    run_ = run, head_ = head;
    for (int64_t i = 0; i < count(); ++i)
      for (int64_t g = 0; g < s_.group; ++g)
        read_head(s_, rotation, query.at(run[i].row, head * s_.group + g), run[i].position, turned_.get(),
                  query_of(i) + g * s_.head_dim);
  }

  // Attend to all that is seen, block after block, and ask meanwhile for what the next run will see.
  void attend(Run next, int64_t next_head) {
    const int64_t start = first_tile(s_, run_[0].position);
    int64_t end = 0;
    for (const Token& token : run_) end = std::max(end, token.position + 1);
    for (int64_t at = start; at < end; at += kBlock) {
      look_at(at, next, next_head);
      for (int64_t i = 0; i < count();)
        if (run_[i].position < at)
          ++i;  // sees nothing of it
        else
          i = attend_from(i, at, at == start);
    }
  }

  // Write the results, [tokens, heads, head_dim].
  void write(T* out) const {
    for (int64_t i = 0; i < count(); ++i)
      for (int64_t g = 0; g < s_.group; ++g) {
        T* target = out + (run_[i].row * s_.heads + head_ * s_.group + g) * s_.head_dim;
        const Partial& done = sums_.rows[i * s_.group + g];
        for (int64_t d = 0; d < s_.head_dim; d += kLanes) store(target + d, load(done.out + d) / done.total);
      }
  }

 private:
  struct Sums {
    explicit Sums(const Shape& s)
        : numbers(new float[kLongestRun * s.group * s.head_dim]), rows(new Partial[kLongestRun * s.group]) {
      for (int64_t r = 0; r < kLongestRun * s.group; ++r) rows[r].out = numbers.get() + r * s.head_dim;
    }
    std::unique_ptr<float[]> numbers;
    std::unique_ptr<Partial[]> rows;
  };

  int64_t most() const { return kLongestRun * s_.group; }
  int64_t count() const { return static_cast<int64_t>(run_.size()); }
  T* query_of(int64_t i) { return queries_.get() + i * s_.group * s_.head_dim; }

  // Find the block at a position for each token, the one that is wanted after it, and what is seen.
  void look_at(int64_t at, Run next, int64_t next_head) {
    for (int64_t i = 0; i < count(); ++i) {
      const Token &token = run_[i], &after = next[std::min<size_t>(i, next.size() - 1)];
      blocks_[i] = caches_.block(s_, token.slot, head_, at);
      nexts_[i] = caches_.block(s_, after.slot, next_head, at);
      next_ends_[i] = std::clamp<int64_t>((after.position - at + kLanes) / kLanes * kLanes, 0, kBlock);
      const Seen seen{std::max<int64_t>(0, first_seen(s_, token.position) - at), std::min(kBlock, token.position + 1 - at)};
      std::fill_n(seen_.get() + i * s_.group, s_.group, seen);
    }
  }

  // Attend from a token and those after it whose blocks begin with the same keys; return the first one that does not.
  int64_t attend_from(int64_t first, int64_t at, bool begins) {
    int64_t last = first + 1, joint = kBlock;  // positions that are the same for all
    for (; last < count() && run_[last].position >= at; ++last) {
      const Lines<T> &keys = blocks_[first].keys, &others = blocks_[last].keys;
      if (keys.own == others.own) continue;
      if (keys.others != others.others) break;
      joint = std::min({joint, keys.shared, others.shared});
    }
    multiply(first, last, joint, (begins ? sums_ : further_).rows.get());
    if (!begins)
      for (int64_t r = first * s_.group; r < last * s_.group; ++r) merge(s_, sums_.rows[r], further_.rows[r]);
    return last;
  }

  void multiply(int64_t first, int64_t last, int64_t joint, Partial* partials) {
    if constexpr (kAttendsInRegisters<T>)
      if (matrix_registers()) {
        want(first, last);
        const int64_t row = first * s_.group, rows = (last - first) * s_.group;
        return registers_.attend(s_, rows, s_.group, query_of(first), blocks_ + first, joint, seen_.get() + row, wanted_,
                                 partials + row);
      }
    for (int64_t i = first; i < last; ++i)
      attend_group<kWidth>(s_, query_of(i), blocks_[i], nexts_[i], seen_[i * s_.group], s_.group, partials + i * s_.group);
  }

  // Want what comes after the blocks of some tokens, each part of it once.
  void want(int64_t first, int64_t last) {
    wanted_.clear();
    for (int64_t i = first; i < last; ++i) {
      const Block<T> &next = nexts_[i], &before = nexts_[std::max(first, i - 1)];
      if (next.keys.own == blocks_[i].keys.own || (i > first && next.keys.own == before.keys.own)) continue;
      const bool others = next.keys.others != blocks_[i].keys.others && (i == first || next.keys.others != before.keys.others);
      wanted_.add(next.keys, next_ends_[i], others);
      wanted_.add(next.values, next_ends_[i], others);
    }
  }

  const Shape& s_;
  const Caches<T>& caches_;
  Run run_;
  int64_t head_ = 0;
  std::unique_ptr<float[]> turned_;
  std::unique_ptr<T[]> queries_;
  std::unique_ptr<Seen[]> seen_;
  Sums sums_, further_;  // of the first block and all that was merged into it; of one more
  Block<T> blocks_[kLongestRun], nexts_[kLongestRun];
  int64_t next_ends_[kLongestRun];
  Wanted wanted_;
  AttentionRegisters registers_;
};

// All runs of one head, then those of the next: slots that begin alike are read from memory once.
template <int64_t kWidth, typename T>
void attend_all(const Shape& s, const Rotation& rotation, const View<T>& query, const Caches<T>& caches,
                const std::vector<Run>& runs, T* out) {
  const int64_t num_runs = static_cast<int64_t>(runs.size()), num_tasks = num_runs * s.kv_heads;
  parallel_for(num_tasks, 1, [&](int64_t begin, int64_t end) {
    Attention<kWidth, T> attention(s, caches);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t after = std::min(task + 1, num_tasks - 1);  // the same thread's, as a rule
      attention.read(rotation, query, runs[task % num_runs], task / num_runs);
      attention.attend(runs[after % num_runs], after / num_runs);
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
              const std::optional<Tensor>& lengths) {
  const Shape s{query.size(0), query.size(1), key.size(1), query.size(1) / key.size(1), query.size(2), keys.size(2),
                static_cast<float>(scale), window, static_cast<float>(softcap)};
  if (s.max_length % kLanes != 0) throw std::invalid_argument("max_length must be a multiple of 16");
  const Rotation rotation = cos ? Rotation{data<float>(*cos), data<float>(*sin), cos->size(1)} : Rotation{};
  const Prefixes prefixes = sources && lengths ? Prefixes{data<int64_t>(*sources), data<int64_t>(*lengths)} : Prefixes{};
  const std::vector<Token> tokens = sorted_tokens(s.tokens, data<int64_t>(slots), data<int64_t>(positions), prefixes);
  const std::vector<Run> runs = find_runs(s, tokens, prefixes);
  Tensor out = empty(query.sizes(), query.scalar_type());
  for_type_of(query, [&](auto type) {
    using T = decltype(type);
    write_cache(s, rotation, View<T>(key), View<T>(value), mutable_data<T>(keys), mutable_data<T>(values), tokens);
    const Caches<T> caches{data<T>(keys), data<T>(values), prefixes};
    for_width(s.head_dim / kLanes, [&](auto width) {
      attend_all<width.value>(s, rotation, View<T>(query), caches, runs, mutable_data<T>(out));
    });
  });
  return out;
}

}  // namespace kelvin
