// Writes TorchScript files, which tch does not bind. The Rust face is script.rs.

#include "ffi.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/frontend/resolver.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>

using torch::jit::Module;

namespace {

// Makes a module without parts. Class names must be identifiers, which attribute names such as `0`
// need not be. Python reads `module.training` of every module.
Module make_module(const std::string &name) {
  Module module("M_" + name);
  module.register_attribute("training", c10::BoolType::get(), false);
  return module;
}

// Registers a tensor under a dotted name, and makes the modules on the way.
void register_tensor(const Module &root, std::string name, const at::Tensor &tensor, bool is_buffer) {
  Module module = root;
  for (size_t dot; (dot = name.find('.')) != std::string::npos; name = name.substr(dot + 1)) {
    const auto child_name = name.substr(0, dot);
    if (!module.hasattr(child_name)) module.register_module(child_name, make_module(child_name));
    module = module.attr(child_name).toModule();
  }
  if (module.hasattr(name)) throw std::runtime_error("two tensors are named " + name);
  if (is_buffer) {
    module.register_buffer(name, tensor);
  } else {
    module.register_parameter(name, tensor, false);
  }
}

} // namespace

extern "C" {

int maskmaker_write_torchscript(const char *path, const char *class_name, const char *source,
                                const maskmaker_tensor_entry *entries, size_t count, char **error_message) {
  return catch_exceptions<int>(error_message, FAILED, [&] {
    std::ofstream file;
    try {
      Module root = make_module(class_name);
      for (size_t i = 0; i < count; ++i) register_tensor(root, entries[i].name, *entries[i].tensor, entries[i].is_buffer);
      root.define(source, torch::jit::nativeResolver());
      // The module is saved into a stream: saved to a path, it would hold the path's name, and its
      // bytes would depend on it.
      errno = 0;
      file.open(path, std::ios::binary | std::ios::trunc);
      if (file) root.save(file);
      file.flush();
      if (!file) throw std::runtime_error("the stream broke");
      return WRITTEN;
    } catch (const std::exception &error) {
      if (!file.fail()) throw;
      // libtorch's own message for a full disk names a record of the archive instead of the reason.
      *error_message = strdup(errno != 0 ? std::strerror(errno) : error.what());
      return NOT_WRITABLE;
    }
  });
}

void maskmaker_free(char *text) { std::free(text); }
}
