// What is asked of memory while blocks are attended to, so that nobody waits for it later.
#pragma once

#include <vector>

#include "attention_block.h"

namespace kelvin {

// Lines of blocks that are wanted next: they are asked for little by little while others are computed with, so that
// memory always sends.
class Wanted {
 public:
  void clear() { parts_.clear(), part_ = 0; }

  // Want the positions before `end`, a multiple of 16; those of another slot only where it is said so.
  template <typename T>
  void add(const Lines<T>& lines, int64_t end, bool others) {
    const int64_t shared = std::min(end, lines.shared), bytes = lines.head_dim * sizeof(T);
    if (others) add(lines.others, shared * bytes);
    add(lines.own + shared * lines.head_dim, (end - shared) * bytes);
  }

  // Ask for all of them in so many steps.
  void divide(int64_t steps) {
    int64_t lines = 0;
    for (size_t i = part_; i < parts_.size(); ++i) lines += parts_[i].lines;
    lines_ = (lines + steps - 1) / steps;
  }

  void ask() {
    for (int64_t left = lines_; left > 0 && part_ < parts_.size();) {
      Part& part = parts_[part_];
      const int64_t lines = std::min(left, part.lines);
      for (int64_t line = 0; line < lines; ++line) __builtin_prefetch(part.at + line * kLine, 0, 2);
      part.at += lines * kLine, part.lines -= lines, left -= lines;
      part_ += part.lines == 0;
    }
  }

 private:
  static constexpr int64_t kLine = 64;

  struct Part {
    const char* at;
    int64_t lines;
  };

  void add(const void* from, int64_t bytes) {
    if (bytes > 0) parts_.push_back({static_cast<const char*>(from), bytes / kLine});
  }

  std::vector<Part> parts_;
  size_t part_ = 0;
  int64_t lines_ = 0;  // of a step
};

}  // namespace kelvin
