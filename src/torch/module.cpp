// Loads and runs TorchScript files for inference, which tch does not bind as needed. The Rust face
// is module.rs.

#include "ffi.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/profiling_graph_executor_impl.h>
#include <torch/csrc/jit/serialization/import.h>

#include <stdexcept>
#include <string>

namespace {

using torch::jit::Module;

// Keeps libtorch from compiling for the sizes that it sees first: images have any size, and it
// would compile again and again. The second switch belongs to the calling thread.
void disable_shape_specialization() {
  torch::jit::getProfilingMode() = false;
  torch::jit::setGraphExecutorOptimize(false);
}

// Finds the logits in the value that a segmentation network returns: a tensor, torchvision's
// dictionary, or a sequence whose first element holds them.
at::Tensor extract_logits(const c10::IValue &module_output) {
  if (module_output.isTensor()) return module_output.toTensor();
  if (module_output.isGenericDict()) {
    const auto dict = module_output.toGenericDict();
    for (const char *key : {"out", "logits"}) {
      const auto found = dict.find(std::string(key));
      if (found != dict.end() && found->value().isTensor()) return found->value().toTensor();
    }
    throw std::runtime_error("the module returns a dictionary without a tensor \"out\" or \"logits\"");
  }
  if (module_output.isTuple() && !module_output.toTupleRef().elements().empty()) return extract_logits(module_output.toTupleRef().elements()[0]);
  if (module_output.isTensorList() && !module_output.toTensorList().empty()) return module_output.toTensorList()[0];
  throw std::runtime_error("the module returns " + module_output.type()->repr_str() + " and not logits");
}

} // namespace

extern "C" {

Module *maskmaker_load_module(const char *path, int device, int kind, bool optimize, char **error_message) {
  return catch_exceptions<Module *>(error_message, nullptr, [&] {
    disable_shape_specialization();
    const auto target_device = device < 0 ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, device);
    Module module = torch::jit::load(path, target_device);
    module.eval();
    module.to(static_cast<c10::ScalarType>(kind));
    // A module without the attribute "training" is frozen already.
    if (module.hasattr("training")) module = torch::jit::freeze(module);
    if (optimize) module = torch::jit::optimize_for_inference(module);
    return new Module(module);
  });
}

at::Tensor *maskmaker_run_module(const Module *module, const at::Tensor *input, char **error_message) {
  return catch_into_tensor(error_message, [&] {
    disable_shape_specialization();
    return extract_logits(Module(*module).forward({*input}));
  });
}

void maskmaker_drop_module(Module *module) { delete module; }
}
