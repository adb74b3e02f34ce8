// Gumbel noise as a function of key, step and token: what samplers/noise.py defines, word for word.

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

template <int kBits>
Words rotate_left(Words x) {
  return (x << kBits) | (x >> (32 - kBits));
}

struct Pair {
  Words first, second;
};

template <int a, int b, int c, int d>
void mix(Pair& x) {
  x.first += x.second, x.second = rotate_left<a>(x.second) ^ x.first;
  x.first += x.second, x.second = rotate_left<b>(x.second) ^ x.first;
  x.first += x.second, x.second = rotate_left<c>(x.second) ^ x.first;
  x.first += x.second, x.second = rotate_left<d>(x.second) ^ x.first;
}

// Threefry-2x32 with 20 rounds (Salmon et al. 2011).
Pair threefry(uint32_t key0, uint32_t key1, uint32_t counter0, Words counter1) {
  const uint32_t key2 = key0 ^ key1 ^ 0x1BD11BDA;
  Pair x{Words{} + (counter0 + key0), counter1 + key1};
  mix<13, 15, 26, 6>(x), x.first += key1, x.second += key2 + 1;
  mix<17, 29, 16, 24>(x), x.first += key2, x.second += key0 + 2;
  mix<13, 15, 26, 6>(x), x.first += key0, x.second += key1 + 3;
  mix<17, 29, 16, 24>(x), x.first += key1, x.second += key2 + 4;
  mix<13, 15, 26, 6>(x), x.first += key2, x.second += key0 + 5;
  return x;
}

// ln x for normal x > 0, within 2 units in the last place (Cephes logf).
Floats log_positive(Floats x) {
  Ints bits = (Ints)x;
  Floats exponent = __builtin_convertvector((bits >> 23) - 126, Floats);
  Floats m = (Floats)((bits & 0x007FFFFF) | 0x3F000000);  // in [0.5, 1)
  const Ints low = m < 0.707106781186547524f;
  exponent = low ? exponent - 1.0f : exponent;
  m = (low ? m + m : m) - 1.0f;
  const Floats z = m * m;
  Floats y = m * 7.0376836292e-2f - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z - 2.12194440e-4f * exponent - 0.5f * z;
  return m + y + 0.693359375f * exponent;
}

Floats gumbel(Words words) {
  Floats u = __builtin_convertvector((Ints)((words >> 1) | 1), Floats) * 0x1p-31f;
  const Floats most = Floats{} + (1.0f - 0x1p-24f);
  u = u > most ? most : u;
  const Floats rest = 1.0f - u;                                                     // rounded; Kahan's correction
  const Floats minus_log1p = rest == 1.0f ? u : log_positive(rest) * u / (rest - 1.0f);  // undoes the rounding
  return -log_positive(minus_log1p);
}

}  // namespace

Tensor gumbel_noise(const Tensor& key0, const Tensor& key1, const Tensor& step, int64_t vocab_size) {
  const int64_t rows = key0.size(0), half = (vocab_size + 1) / 2, pieces = (half + kLanes - 1) / kLanes;
  Tensor out = torch::stable::new_empty(key0, {rows, vocab_size}, ScalarType::Float);
  const auto *first = data<uint32_t>(key0), *second = data<uint32_t>(key1), *counter = data<uint32_t>(step);
  float* noise = mutable_data<float>(out);
  parallel_for(rows * pieces, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / pieces, token = i % pieces * kLanes;
      constexpr Words lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
      const Pair words = threefry(first[row], second[row], counter[row], lane + static_cast<uint32_t>(token));
      float* target = noise + row * vocab_size + token;
      store_up_to(target, half - token, gumbel(words.first));
      store_up_to(target + half, vocab_size - half - token, gumbel(words.second));
    }
  });
  return out;
}

}  // namespace kelvin
