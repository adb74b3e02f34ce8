#include "pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include <sched.h>

namespace kelvin {
namespace {

constexpr int64_t kPiecesPerThread = 8;                      // finer pieces even out what each thread gets done
constexpr auto kPatience = std::chrono::microseconds(200);  // between two kernels of a step; then a worker sleeps

// What nobody has taken yet of the elements that lie together for one thread. It takes them from the front, piece after
// piece, so that what it asks of memory ahead of time is its own; who has done all of his takes them from the end.
class alignas(64) Share {
 public:
  static constexpr int64_t kMost = (int64_t{1} << 32) - 1;

  void fill(int64_t begin, int64_t end) { left_.store(pack(begin, end), std::memory_order_relaxed); }

  // Take up to `piece` elements; `begin` and `end` say which. False: none are left.
  bool take(int64_t piece, bool from_front, int64_t& begin, int64_t& end) {
    uint64_t left = left_.load(std::memory_order_relaxed), rest;
    do {
      begin = static_cast<int64_t>(left >> 32), end = static_cast<int64_t>(left & kMost);
      if (begin >= end) return false;
      const int64_t count = std::min(piece, end - begin);
      rest = from_front ? pack(begin + count, end) : pack(begin, end - count);
      (from_front ? end : begin) = from_front ? begin + count : end - count;
    } while (!left_.compare_exchange_weak(left, rest, std::memory_order_relaxed));
    return true;
  }

 private:
  static uint64_t pack(int64_t begin, int64_t end) { return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end); }

  std::atomic<uint64_t> left_{0};
};

class Pool {
 public:
  explicit Pool(int64_t threads) : threads_(threads), shares_(threads) {
    for (int64_t i = 1; i < threads; ++i) std::thread([this, i] { work(i); }).detach();
  }

  void run(int64_t count, int64_t least_piece, Task task, void* context) {
    std::unique_lock owner(busy_, std::try_to_lock);
    if (threads_ == 1 || count <= least_piece || count > Share::kMost || !owner) return task(context, 0, count);
    task_ = task;
    context_ = context;
    piece_ = std::max(least_piece, count / (threads_ * kPiecesPerThread));
    for (int64_t i = 0; i < threads_; ++i) shares_[i].fill(count * i / threads_, count * (i + 1) / threads_);
    state_.store(kOpen, std::memory_order_release);
    round_.fetch_add(1, std::memory_order_release);
    if (sleepers_.load() > 0) round_.notify_all();
    take_pieces(0);
    state_.fetch_sub(kOpen, std::memory_order_acq_rel);  // nobody joins any more
    while (state_.load(std::memory_order_acquire) != 0) sched_yield();
  }

 private:
  // `state_` holds kOpen while pieces may be taken, plus one for each worker inside: it is 0 between jobs, and only then
  // are the job's fields written.
  static constexpr int64_t kOpen = int64_t{1} << 32;

  void work(int64_t own) {
    for (uint32_t seen = 0;;) {
      seen = wait_for_round(seen);
      int64_t state = state_.load(std::memory_order_acquire);
      while (state >= kOpen && !state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
      }
      if (state < kOpen) continue;
      take_pieces(own);
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

  void take_pieces(int64_t own) {
    for (int64_t i = 0; i < threads_; ++i)
      for (int64_t begin, end; shares_[(own + i) % threads_].take(piece_, i == 0, begin, end);)
        task_(context_, begin, end);
  }

  const int64_t threads_;
  std::vector<Share> shares_;
  std::mutex busy_;
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t piece_ = 1;
  std::atomic<int64_t> state_{0};
  std::atomic<uint32_t> round_{0};
  std::atomic<int> sleepers_{0};
};

}  // namespace

void run_parallel(int64_t count, int64_t least_piece, Task task, void* context) {
  static Pool* pool = new Pool(num_threads());  // lives as long as the process: workers never end
  pool->run(count, least_piece, task, context);
}

}  // namespace kelvin
