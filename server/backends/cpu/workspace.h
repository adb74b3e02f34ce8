// Room for what lives no longer than one call of kernels that call one another.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "tensors.h"

namespace kelvin {

// Memory that its thread keeps from one call to the next. What was made stays as it is until the thread's next workspace.
class Workspace : public Room {
 public:
  Workspace() {
    if (chunks_.size() <= 1) return;
    int64_t bytes = 0;
    for (const Chunk& chunk : chunks_) bytes += chunk.bytes;
    chunks_.clear();
    chunks_.emplace_back(bytes);
  }

 protected:
  Tensor place(const Sizes& sizes, ScalarType type) override {
    const int64_t bytes = (sizes.count() * bytes_of(type) + kLine - 1) / kLine * kLine;
    if (chunks_.empty() || used_ + bytes > chunks_.back().bytes) {
      chunks_.emplace_back(std::max(bytes, kLeast));
      used_ = 0;
    }
    used_ += bytes;
    return {chunks_.back().memory.get() + used_ - bytes, type, sizes};
  }

 private:
  static constexpr int64_t kLine = 64, kLeast = 1 << 20;

  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  struct Chunk {
    explicit Chunk(int64_t bytes) : bytes(bytes), memory(static_cast<char*>(std::aligned_alloc(kLine, bytes))) {
      if (memory == nullptr) throw std::bad_alloc();
    }
    int64_t bytes;
    std::unique_ptr<char, Free> memory;
  };

  static inline thread_local std::vector<Chunk> chunks_;
  int64_t used_ = 0;
};

}  // namespace kelvin
