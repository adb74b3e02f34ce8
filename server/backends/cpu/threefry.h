// Threefry-2x32 with 20 rounds (Salmon et al. 2011), on one word or a vector of them.
#pragma once

#include "vector.h"

namespace kelvin {

template <typename W>
struct Pair {
  W first, second;
};

template <int kBits, typename W>
W rotate_left(W x) {
  return (x << kBits) | (x >> (32 - kBits));
}

template <int a, int b, int c, int d, typename W>
void mix(Pair<W>& x) {
  x.first += x.second, x.second = rotate_left<a>(x.second) ^ x.first;
  x.first += x.second, x.second = rotate_left<b>(x.second) ^ x.first;
  x.first += x.second, x.second = rotate_left<c>(x.second) ^ x.first;
  x.first += x.second, x.second = rotate_left<d>(x.second) ^ x.first;
}

template <typename W>
Pair<W> threefry(uint32_t key0, uint32_t key1, uint32_t counter0, W counter1) {
  const uint32_t key2 = key0 ^ key1 ^ 0x1BD11BDA;
  Pair<W> x{W{} + (counter0 + key0), counter1 + key1};
  mix<13, 15, 26, 6>(x), x.first += key1, x.second += key2 + 1;
  mix<17, 29, 16, 24>(x), x.first += key2, x.second += key0 + 2;
  mix<13, 15, 26, 6>(x), x.first += key0, x.second += key1 + 3;
  mix<17, 29, 16, 24>(x), x.first += key1, x.second += key2 + 4;
  mix<13, 15, 26, 6>(x), x.first += key2, x.second += key0 + 5;
  return x;
}

}  // namespace kelvin
