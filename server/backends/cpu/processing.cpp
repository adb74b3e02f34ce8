// What changes logits before the draw: bias, bans, penalties, and rules against repetition; and the history they go by.

#include <cmath>
#include <vector>

#include "interval.h"
#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

constexpr int32_t kAny = -1;  // at a place of a bad word; see samplers/bias.py
constexpr float kLargest = std::numeric_limits<float>::max();

// The tokens of a row up to its length, and what is known of their positions.
struct Past {
  const int32_t *tokens, *counts, *matches;
  int64_t length;
};

// A row's rules; see `SamplingState`.
struct Rules {
  float repetition, presence, frequency;
  int32_t ngram_size;
  float dry_multiplier, dry_base;
  int32_t dry_allowed;
};

void keep_allowed(const float* logits, const bool* allowed, int64_t n, float* out) {
  typedef uint8_t Bytes __attribute__((vector_size(16), aligned(1)));
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Ints keep = __builtin_convertvector(*reinterpret_cast<const Bytes*>(allowed + i), Ints);
    store(out + i, keep != 0 ? load(logits + i) : Floats{} - kInf);
  }
  for (; i < n; ++i) out[i] = allowed[i] ? logits[i] : -kInf;
}

// Replace the logits of some tokens by what `change(place, logit)` makes of them. All are read before any is written, for
// a token may stand in several places.
template <typename Change, typename Write>
void change_each(float* row, const int32_t* token_ids, int64_t count, Change change, Write write) {
  static thread_local std::vector<float> changed;
  if (changed.size() < static_cast<size_t>(count)) changed.resize(count);
  for (int64_t i = 0; i < count; ++i) changed[i] = change(i, row[token_ids[i]]);
  for (int64_t i = 0; i < count; ++i) write(row[token_ids[i]], changed[i]);
}

void replace(float& target, float value) { target = value; }

void lower(float& target, float value) { target = value < target ? value : target; }  // NaN stays

void ban_bad_words(float* row, const int32_t* words, int64_t count, int64_t longest, const Past& past) {
  for (const int32_t* word = words; word < words + count * longest; word += longest) {
    const int32_t last = word[longest - 1];
    bool completed = last >= 0;
    for (int64_t place = 0; completed && place < longest - 1; ++place) {
      const int64_t position = past.length - (longest - 1) + place;
      completed = word[place] == kAny || (position >= 0 && word[place] == past.tokens[position]);
    }
    if (completed) lower(row[last], -kInf);
  }
}

void penalize(float* row, const Past& past, const Rules& rules) {
  if (rules.repetition == 1.0f && rules.presence == 0.0f && rules.frequency == 0.0f) return;
  const auto change = [&](int64_t i, float logit) {
    const float count = static_cast<float>(past.counts[i]);
    const float scaled = logit > 0.0f ? logit / rules.repetition : logit * rules.repetition;
    return scaled - rules.frequency * count - rules.presence * std::min(count, 1.0f);
  };
  change_each(row, past.tokens, past.length, change, replace);
}

void discourage_repeats(float* row, const Past& past, const Rules& rules) {
  if (rules.ngram_size <= 0 && !(rules.dry_multiplier > 0.0f)) return;
  const auto change = [&](int64_t i, float logit) {
    const int32_t matches = past.matches[i];
    if (rules.ngram_size > 0 && matches + 1 >= rules.ngram_size) return -kInf;
    if (!(rules.dry_multiplier > 0.0f) || matches < std::max(rules.dry_allowed, 1)) return logit;
    const float excess = static_cast<float>(matches - rules.dry_allowed);
    return logit - std::min(rules.dry_multiplier * std::pow(rules.dry_base, excess), kLargest);
  };
  change_each(row, past.tokens, past.length, change, lower);
}

}  // namespace

Tensor process(const Tensor& logits, const Tensor& step, const Tensor& bias_ids, const Tensor& bias,
               const Tensor& allowed, const Tensor& bad_words, const Tensor& min_tokens, const Tensor& stop_ids,
               const Tensor& repetition_penalty, const Tensor& presence_penalty, const Tensor& frequency_penalty,
               const Tensor& no_repeat_ngram_size, const Tensor& dry_multiplier, const Tensor& dry_base,
               const Tensor& dry_allowed_length, const Tensor& tokens, const Tensor& length, const Tensor& counts,
               const Tensor& matches) {
  const int64_t rows = logits.size(0), n = logits.size(1), positions = tokens.size(1);
  const int64_t biases = bias_ids.size(1), words = bad_words.size(1), longest = bad_words.size(2);
  Tensor out = empty({rows, n}, ScalarType::Float);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = mutable_data<float>(out) + r * n;
      const auto at = [&](const Tensor& t) { return data<int32_t>(t) + r * positions; };
      const Past past{at(tokens), at(counts), at(matches), data<int32_t>(length)[r]};
      const Rules rules{data<float>(repetition_penalty)[r], data<float>(presence_penalty)[r],
                        data<float>(frequency_penalty)[r],  data<int32_t>(no_repeat_ngram_size)[r],
                        data<float>(dry_multiplier)[r],     data<float>(dry_base)[r],
                        data<int32_t>(dry_allowed_length)[r]};
      keep_allowed(data<float>(logits) + r * n, data<bool>(allowed) + r * n, n, row);
      const float* added = data<float>(bias) + r * biases;
      change_each(row, data<int32_t>(bias_ids) + r * biases, biases,
                  [&](int64_t i, float logit) { return logit + added[i]; }, replace);
      ban_bad_words(row, data<int32_t>(bad_words) + r * words * longest, words, longest, past);
      if (data<int32_t>(step)[r] < data<int32_t>(min_tokens)[r])
        for (int64_t i = 0; i < stop_ids.size(1); ++i) row[data<int32_t>(stop_ids)[r * stop_ids.size(1) + i]] = -kInf;
      penalize(row, past, rules);
      discourage_repeats(row, past, rules);
    }
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> append(const Tensor& tokens, const Tensor& length, const Tensor& counts,
                                                  const Tensor& matches, const Tensor& token_ids) {
  const int64_t rows = tokens.size(0), positions = tokens.size(1);
  const auto like = [](const Tensor& t) { return empty(t.sizes(), ScalarType::Int); };
  Tensor new_tokens = like(tokens), new_length = like(length), new_counts = like(counts), new_matches = like(matches);
  parallel_for(rows, 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto at = [&](const Tensor& t) { return mutable_data<int32_t>(t) + r * positions; };
      const int32_t *old_tokens = at(tokens), *old_counts = at(counts), *old_matches = at(matches);
      int32_t *row = at(new_tokens), *row_counts = at(new_counts), *row_matches = at(new_matches);
      const int32_t token = data<int32_t>(token_ids)[r], filled = data<int32_t>(length)[r];
      int32_t count = 0;
      for (int64_t i = 0; i < positions; ++i) count = std::max(count, old_tokens[i] == token ? old_counts[i] : 0);
      std::copy(old_tokens, old_tokens + positions, row);
      if (filled < positions) row[filled] = token;
      for (int64_t i = 0; i < positions; ++i) row_counts[i] = row[i] == token ? count + 1 : old_counts[i];
      row_matches[0] = 0;
      for (int64_t i = 1; i < positions; ++i)
        row_matches[i] = i <= filled && row[i - 1] == token ? old_matches[i - 1] + 1 : 0;
      mutable_data<int32_t>(new_length)[r] = filled + 1;
    }
  });
  return {new_tokens, new_length, new_counts, new_matches};
}

}  // namespace kelvin
