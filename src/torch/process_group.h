// Declares the types of process_group.cpp that Rust holds pointers to and other C++ files use.

#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

struct maskmaker_store {
  c10::intrusive_ptr<c10d::TCPStore> store;
};
struct maskmaker_process_group {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
};
