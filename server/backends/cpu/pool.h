// Threads that share out the kernels' work piece by piece, so that a thread which the system has put aside holds nobody
// up: OpenMP waits for every thread of its team at every loop, which costs milliseconds when cores are shared.
#pragma once

#include <cstdint>

namespace kelvin {

// The threads of the pool, asked once. Each framework's library defines it in its own way.
int64_t num_threads();

using Task = void (*)(void* context, int64_t begin, int64_t end);

// Run task(context, begin, end) over pieces that together are [0, count); returns when all are done. A second caller at
// the same time does its work alone.
void run_parallel(int64_t count, int64_t least_piece, Task task, void* context);

// Call f(begin, end) over pieces of [0, count), each of at least `least_piece` elements but the last.
template <typename F>
void parallel_for(int64_t count, int64_t least_piece, const F& f) {
  run_parallel(
      count, least_piece,
      [](void* context, int64_t begin, int64_t end) { (*static_cast<const F*>(context))(begin, end); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace kelvin
