// The draw: samplers/chain.py from processed logits on, a row at a time while it is in the cache.

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "noise.h"
#include "pool.h"
#include "truncation.h"

namespace kelvin {
namespace {

// The greatest score so far and its token; the lowest token wins a tie.
struct Best {
  Floats score = Floats{} - kInf;
  Ints token{};

  void offer(Floats scores, int64_t first) {  // tokens come in rising order: a later one that ties is not better
    const Ints better = scores > score;
    score = better ? scores : score;
    token = better ? kLane + static_cast<int32_t>(first) : token;
  }

  // The greatest score and its token.
  std::pair<float, int32_t> winner() const {
    std::pair<float, int32_t> best{-kInf, 0};
    for (int64_t lane = 0; lane < kLanes; ++lane)
      if (score[lane] > best.first || (score[lane] == best.first && token[lane] < best.second))
        best = {score[lane], token[lane]};
    return best;
  }
};

// The greatest logit; NaN where the row holds NaN or +infinity, or nothing but -infinity.
float best_of(const float* logits, int64_t n) {
  Floats most = Floats{} - kInf;
  Ints fine = ~Ints{};
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats x = load_up_to(logits + i, n - i, -kInf);
    fine &= x < kInf;  // NaN is not
    most = x > most ? x : most;
  }
  float best = -kInf;
  for (int64_t lane = 0; lane < kLanes; ++lane) best = most[lane] > best ? most[lane] : best;
  return any(~fine) || best == -kInf ? std::numeric_limits<float>::quiet_NaN() : best;
}

// Arg max of noise less distance, which distance(first, end) gives for the lanes from `first` on: infinity, and so it is
// beyond `end`, for what is not kept.
template <typename F>
int32_t nearest(int64_t n, const Noise& noise, F distance) {
  Best early, late;
  float bar = -kInf;  // the greatest score so far
  for (int64_t i = 0; i < noise.half; i += kLanes) {
    const Floats near = distance(i, noise.half), far = distance(noise.half + i, n);
    if (!any((near <= kMostNoise - bar) | (far <= kMostNoise - bar))) continue;
    const Pair<Words> words = noise.words(i);
    if (!any(may_reach(words.first, near + bar) | may_reach(words.second, far + bar))) continue;
    early.offer(gumbel(words.first) - near, i);
    late.offer(gumbel(words.second) - far, noise.half + i);
    bar = greatest(early.score > late.score ? early.score : late.score);
  }
  const auto low = early.winner(), high = late.winner();
  return high.first > low.first ? high.second : low.second;
}

int32_t draw_from_all(const float* logits, int64_t n, float best, float temperature, const Noise& noise) {
  return nearest(n, noise, [=](int64_t first, int64_t end) {
    return (best - load_up_to(logits + first, end - first, -kInf)) / temperature;
  });
}

int32_t draw_kept(const Distances& tempered, const Kept& kept, const Noise& noise) {
  return nearest(tempered.n, noise, [=](int64_t first, int64_t end) {
    const Floats d = load_up_to(tempered.values + first, end - first, kInf);
    const Ints within = (d >= kept.low) & (d <= kept.high);
    return within ? (d - kept.low) / kept.after : Floats{} + kInf;
  });
}

int32_t first_of(const float* x, float value) { return static_cast<int32_t>(std::find(x, x + INT32_MAX, value) - x); }

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> draw(
    const Tensor& logits, const Tensor& temperature, const Tensor& key0, const Tensor& key1, const Tensor& step,
    const Tensor& temperature_span, const Tensor& temperature_exponent, const Tensor& temperature_last,
    const Tensor& top_n_sigma, const Tensor& early_min_p, const Tensor& top_k, const Tensor& early_typical_p,
    const Tensor& top_p, const Tensor& min_p, const Tensor& typical_p, const Tensor& epsilon_cutoff,
    const Tensor& eta_cutoff, const Tensor& xtc_probability, const Tensor& xtc_threshold) {
  const int64_t rows = logits.size(0), n = logits.size(1), blocks = (n + kBlock - 1) / kBlock;
  const bool truncates = top_p.size(0) != 0;
  Tensor token_ids = empty({rows}, ScalarType::Int);
  Tensor finite = empty({rows}, ScalarType::Bool);
  const auto column = [&] { return empty({rows, 1}, ScalarType::Float); };
  Tensor before = column(), after = column(), low = column(), high = column();
  const float* x = data<float>(logits);
  auto* tokens = mutable_data<int32_t>(token_ids);
  auto* fine = mutable_data<bool>(finite);
  float *befores = mutable_data<float>(before), *afters = mutable_data<float>(after);
  float *lows = mutable_data<float>(low), *highs = mutable_data<float>(high);
  const auto parameters = [&](int64_t r) {
    RowParameters row;
    row.temperature = data<float>(temperature)[r];
    if (!truncates) return row;
    row.temperature_span = data<float>(temperature_span)[r];
    row.temperature_exponent = data<float>(temperature_exponent)[r];
    row.temperature_last = data<bool>(temperature_last)[r];
    row.top_n_sigma = data<float>(top_n_sigma)[r];
    row.early_min_p = data<float>(early_min_p)[r];
    row.top_k = data<int32_t>(top_k)[r];
    row.early_typical_p = data<float>(early_typical_p)[r];
    row.top_p = data<float>(top_p)[r];
    row.min_p = data<float>(min_p)[r];
    row.typical_p = data<float>(typical_p)[r];
    row.epsilon_cutoff = data<float>(epsilon_cutoff)[r];
    row.eta_cutoff = data<float>(eta_cutoff)[r];
    row.xtc_probability = data<float>(xtc_probability)[r];
    row.xtc_threshold = data<float>(xtc_threshold)[r];
    return row;
  };
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    static thread_local std::vector<float> room;
    room.resize(n + blocks);
    Distances distances{room.data(), room.data() + n, n};
    for (int64_t r = begin; r < end; ++r) {
      const RowParameters row = parameters(r);
      const Noise noise{data<uint32_t>(key0)[r], data<uint32_t>(key1)[r], data<uint32_t>(step)[r], (n + 1) / 2};
      const float* row_logits = x + r * n;
      const float best = best_of(row_logits, n);
      const bool greedy = !(row.temperature > 0.0f);
      Kept kept;
      tokens[r] = 0;
      fine[r] = best == best;
      if (!fine[r]) {
        // Neither is there anything to draw nor to say.
      } else if (!row.keep_all()) {
        kept = truncate(row_logits, best, row, noise.coin(), distances);
        tokens[r] = greedy ? first_of(distances.values, kept.low) : draw_kept(distances, kept, noise);
      } else if (greedy) {
        tokens[r] = first_of(row_logits, best);
      } else {
        kept.before = row.temperature;
        tokens[r] = draw_from_all(row_logits, n, best, row.temperature, noise);
      }
      befores[r] = kept.before, afters[r] = kept.after, lows[r] = kept.low, highs[r] = kept.high;
    }
  });
  return {token_ids, finite, before, after, low, high};
}

}  // namespace kelvin
