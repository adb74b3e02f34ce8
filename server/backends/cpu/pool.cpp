#include "pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include <sched.h>

namespace kelvin {
namespace {

constexpr int64_t kPiecesPerThread = 4;                      // finer pieces even out what each thread gets done
constexpr auto kPatience = std::chrono::microseconds(200);  // between two kernels of a step; then a worker sleeps

class Pool {
 public:
  explicit Pool(int64_t threads) : threads_(threads) {
    for (int64_t i = 1; i < threads; ++i) std::thread([this] { work(); }).detach();
  }

  void run(int64_t count, int64_t least_piece, Task task, void* context) {
    std::unique_lock owner(busy_, std::try_to_lock);
    if (threads_ == 1 || count <= least_piece || !owner) return task(context, 0, count);
    task_ = task;
    context_ = context;
    count_ = count;
    piece_ = std::max(least_piece, count / (threads_ * kPiecesPerThread));
    next_.store(0, std::memory_order_relaxed);
    state_.store(kOpen, std::memory_order_release);
    round_.fetch_add(1, std::memory_order_release);
    if (sleepers_.load() > 0) round_.notify_all();
    take_pieces();
    state_.fetch_sub(kOpen, std::memory_order_acq_rel);  // nobody joins any more
    while (state_.load(std::memory_order_acquire) != 0) sched_yield();
  }

 private:
  // `state_` holds kOpen while pieces may be taken, plus one for each worker inside: it is 0 between jobs, and only then
  // are the job's fields written.
  static constexpr int64_t kOpen = int64_t{1} << 32;

  void work() {
    for (uint32_t seen = 0;;) {
      seen = wait_for_round(seen);
      int64_t state = state_.load(std::memory_order_acquire);
      while (state >= kOpen && !state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
      }
      if (state < kOpen) continue;
      take_pieces();
      state_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  uint32_t wait_for_round(uint32_t seen) {
    const auto start = std::chrono::steady_clock::now();
    for (;;) {
      for (int i = 0; i < 64; ++i) {
        const uint32_t round = round_.load(std::memory_order_acquire);
        if (round != seen) return round;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
      if (std::chrono::steady_clock::now() - start > kPatience) break;
      sched_yield();
    }
    sleepers_.fetch_add(1);
    round_.wait(seen);
    sleepers_.fetch_sub(1);
    return round_.load(std::memory_order_acquire);
  }

  void take_pieces() {
    for (;;) {
      const int64_t begin = next_.fetch_add(piece_, std::memory_order_relaxed);
      if (begin >= count_) return;
      task_(context_, begin, std::min(begin + piece_, count_));
    }
  }

  const int64_t threads_;
  std::mutex busy_;
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0, piece_ = 1;
  std::atomic<int64_t> next_{0}, state_{0};
  std::atomic<uint32_t> round_{0};
  std::atomic<int> sleepers_{0};
};

}  // namespace

void run_parallel(int64_t count, int64_t least_piece, Task task, void* context) {
  static Pool* pool = new Pool(num_threads());  // lives as long as the process: workers never end
  pool->run(count, least_piece, task, context);
}

}  // namespace kelvin
