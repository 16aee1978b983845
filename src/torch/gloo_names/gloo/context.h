// Declares the names of gloo that libtorch's ProcessGroupGloo.hpp mentions. libtorch's packages hold
// gloo's code, and not its headers. process_group.cpp makes the class by its constructor, which the
// library exports, and every member of it is a pointer, or a vector of pointers, to these types, so
// that the names are enough.
#pragma once

#include <chrono>

namespace gloo {
class Context {
public:
  void setTimeout(std::chrono::milliseconds);
};
} // namespace gloo
