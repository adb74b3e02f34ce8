// Which tokens attend together, and where the keys and values that they see are read.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "attention_block.h"

namespace kelvin {

struct Token {
  int64_t row, slot, position;  // row: of the batch
};

// Tokens that attend together: a block of keys and values that several of them see is read for all at once. Their
// blocks begin at the same places.
using Run = std::span<const Token>;

constexpr int64_t kLongestRun = 16;  // tokens of one slot

inline int64_t first_seen(const Shape& s, int64_t position) {
  return s.window > 0 ? std::max<int64_t>(0, position + 1 - s.window) : 0;
}

inline int64_t first_tile(const Shape& s, int64_t position) { return first_seen(s, position) / kLanes * kLanes; }

// For every slot another one in which its first positions lie, and how many do; see `attend`.
struct Prefixes {
  const int64_t *sources, *lengths;  // null: every slot is its own source

  int64_t source(int64_t slot) const { return sources ? sources[slot] : slot; }
  int64_t length(int64_t slot) const { return lengths ? lengths[slot] : 0; }
};

template <typename T>
struct Caches {
  const T *keys, *values;
  Prefixes prefixes;

  // What a slot's head holds of the block that begins at a position.
  Block<T> block(const Shape& s, int64_t slot, int64_t head, int64_t at) const {
    const auto place = [&](int64_t slot) { return ((slot * s.kv_heads + head) * s.max_length + at) * s.head_dim; };
    const int64_t own = place(slot), others = place(prefixes.source(slot));
    const int64_t shared = own == others ? kBlock : std::clamp<int64_t>(prefixes.length(slot) - at, 0, kBlock);
    return {{keys + own, keys + others, shared, s.head_dim}, {values + own, values + others, shared, s.head_dim}};
  }
};

// Return the tokens of a batch, those of slots that begin alike one after the other.
inline std::vector<Token> sorted_tokens(int64_t count, const int64_t* slots, const int64_t* positions,
                                        const Prefixes& prefixes) {
  std::vector<Token> tokens(count);
  for (int64_t row = 0; row < count; ++row) tokens[row] = {row, slots[row], positions[row]};
  const auto key = [&](const Token& token) { return std::pair{prefixes.source(token.slot), token.slot}; };
  std::stable_sort(tokens.begin(), tokens.end(), [&](const Token& a, const Token& b) { return key(a) < key(b); });
  return tokens;
}

// Cut sorted tokens into runs. Those of several slots have no more queries than a matrix register, so that every thread
// gets some.
inline std::vector<Run> find_runs(const Shape& s, std::span<const Token> tokens, const Prefixes& prefixes) {
  const int64_t most_alike = std::max<int64_t>(1, kQueriesAtOnce / s.group);
  const auto joins = [&](const Token& token, Run run) {
    const Token& first = run.front();
    return static_cast<int64_t>(run.size()) < (token.slot == first.slot ? kLongestRun : most_alike) &&
           prefixes.source(token.slot) == prefixes.source(first.slot) &&
           first_tile(s, token.position) == first_tile(s, first.position);
  };
  std::vector<Run> runs;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!runs.empty() && joins(tokens[i], runs.back()))
      runs.back() = Run(runs.back().data(), runs.back().size() + 1);
    else
      runs.push_back(tokens.subspan(i, 1));
  }
  return runs;
}

}  // namespace kelvin
