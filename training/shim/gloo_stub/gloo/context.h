// Declarations only: torch's wheel carries the compiled gloo but not its headers, and c10d's header names these types.
#pragma once
#include <chrono>
#include <memory>
namespace gloo {
namespace transport {
class Device;
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = 0;
};
}  // namespace transport
class Context {
 public:
  void setTimeout(std::chrono::milliseconds);
};
}  // namespace gloo
