// Adds NVIDIA's collectives (NCCL) to a group of processes, for tensors on GPUs. scripts/nccl.sh
// builds this into a library of its own, libmaskmaker_nccl.so, which ../nccl.rs opens after
// libtorch_cuda.so: the program must start where there is neither.

#include "../ffi.h"
#include "../process_group.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

extern "C" bool maskmaker_add_nccl(const maskmaker_process_group *group, const maskmaker_store *store, int device,
                                   int64_t timeout_ms, char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    const auto &ranks = group->group;
    const auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    const auto names = c10::make_intrusive<c10d::PrefixStore>("nccl", store->store);
    const auto nccl =
        c10::make_intrusive<c10d::ProcessGroupNCCL>(names, ranks->getRank(), ranks->getSize(), options);
    // Otherwise the first collective would guess it.
    nccl->setBoundDeviceId(c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device)));
    ranks->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::NCCL, nccl);
    return true;
  });
}
