// Declares the types of process_group.cpp that other C++ files use.

#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

struct maskmaker_process_group {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
};
