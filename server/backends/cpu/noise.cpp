// Gumbel noise of every token.

#include "noise.h"

#include "kernels.h"
#include "pool.h"

namespace kelvin {

Tensor gumbel_noise(const Tensor& key0, const Tensor& key1, const Tensor& step, int64_t vocab_size) {
  const int64_t rows = key0.size(0), half = (vocab_size + 1) / 2, pieces = (half + kLanes - 1) / kLanes;
  Tensor out = empty({rows, vocab_size}, ScalarType::Float);
  const auto *first = data<uint32_t>(key0), *second = data<uint32_t>(key1), *counter = data<uint32_t>(step);
  float* target = mutable_data<float>(out);
  parallel_for(rows * pieces, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / pieces, token = i % pieces * kLanes;
      const Pair<Words> words = Noise{first[row], second[row], counter[row], half}.words(token);
      float* tokens = target + row * vocab_size + token;
      store_up_to(tokens, half - token, gumbel(words.first));
      store_up_to(tokens + half, vocab_size - half - token, gumbel(words.second));
    }
  });
  return out;
}

}  // namespace kelvin
