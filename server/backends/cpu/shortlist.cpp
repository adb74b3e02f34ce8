// The nearest tokens of a row, about as many as asked for, and the least distance of those left out.

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

constexpr int64_t kStride = 8;      // a sample of every eighth vector tells where to cut
constexpr float kCautious = 0.75f;  // of the size, since a sample errs

int64_t count_within(const float* x, int64_t n, float bound) {
  Ints counts{};
  int64_t i = 0, total = 0;
  for (; i + kLanes <= n; i += kLanes) counts -= load(x + i) <= bound;  // true is -1
  for (int64_t lane = 0; lane < kLanes; ++lane) total += counts[lane];
  for (; i < n; ++i) total += x[i] <= bound;
  return total;
}

// The greatest bound with at most `most` elements within it, found on the bits of the floats; -1 where there is none.
float bound_of(const float* x, int64_t n, int64_t most) {
  int32_t low = -1, high = bits_of(kInf);  // low has at most `most`, high more or is the last
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    (count_within(x, n, float_of(middle)) <= most ? low : high) = middle;
  }
  return low < 0 ? -1.0f : float_of(low);
}

// Copy what lies within the bound to `near`, in order; `rest` becomes the least of what does not.
int64_t keep_within(const float* x, int64_t n, float bound, float* near, float& rest) {
  int64_t kept = 0, i = 0;
#if defined(__AVX512F__)
  __m512 least = _mm512_set1_ps(rest);
  for (; i + kLanes <= n; i += kLanes) {
    const __m512 xs = _mm512_loadu_ps(x + i);
    const __mmask16 within = _mm512_cmp_ps_mask(xs, _mm512_set1_ps(bound), _CMP_LE_OQ);
    least = _mm512_mask_min_ps(least, static_cast<__mmask16>(~within), least, xs);
    if (within) {
      _mm512_storeu_ps(near + kept, _mm512_maskz_compress_ps(within, xs));
      kept += __builtin_popcount(within);
    }
  }
  rest = _mm512_reduce_min_ps(least);
#endif
  for (; i < n; ++i) {
    if (x[i] <= bound)
      near[kept++] = x[i];
    else
      rest = std::min(rest, x[i]);
  }
  return kept;
}

struct Scratch {
  std::vector<float> sample, near, nearer;
};

// Fill `list` with the nearest elements, at most `size` of them, then infinity; returns the least that is left out.
float row_shortlist(const float* x, int64_t n, float* list, int64_t size, Scratch& scratch) {
  float rest = kInf;
  int64_t kept = 0;
  auto& sample = scratch.sample;
  sample.clear();
  for (int64_t i = 0; i < n; i += kStride * kLanes) sample.insert(sample.end(), x + i, x + std::min(i + kLanes, n));
  const auto share = static_cast<double>(sample.size()) / static_cast<double>(n);
  const auto most = static_cast<int64_t>(static_cast<double>(size) * kCautious * share);
  const float bound = n <= size ? kInf : bound_of(sample.data(), static_cast<int64_t>(sample.size()), most);
  float* near = scratch.near.data();
  kept = keep_within(x, n, bound, near, rest);
  if (kept > size) {
    float* nearer = scratch.nearer.data();
    kept = keep_within(near, kept, bound_of(near, kept, size), nearer, rest);
    near = nearer;
  }
  std::copy(near, near + kept, list);
  std::fill(list + kept, list + size, kInf);
  return rest;
}

}  // namespace

std::tuple<Tensor, Tensor> shortlist(const Tensor& distance, int64_t size) {
  const int64_t rows = distance.size(0), n = distance.size(1);
  Tensor near = torch::stable::new_empty(distance, {rows, size}), reach = torch::stable::new_empty(distance, {rows, 1});
  const float* x = data<float>(distance);
  float *lists = mutable_data<float>(near), *reaches = mutable_data<float>(reach);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    Scratch scratch;
    scratch.near.resize(n + kLanes);
    scratch.nearer.resize(n + kLanes);
    for (int64_t r = begin; r < end; ++r) reaches[r] = row_shortlist(x + r * n, n, lists + r * size, size, scratch);
  });
  return {near, reach};
}

}  // namespace kelvin
