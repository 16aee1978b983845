// Collectives of PyTorch's c10d: the store by which processes find each other, a group of processes
// over Gloo, and the Reducer of DistributedDataParallel. The Rust faces are store.rs, process_group.rs and
// gradient_reducer.rs.

#include "ffi.h"
#include "process_group.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#include <torch/version.h>

#include <c10/util/Logging.h>

#include <algorithm>
#include <iostream>
#include <mutex>
#include <string>
#include <vector>

// Rust holds a pointer to this.
struct maskmaker_reducer {
  // Keeps the group, which the Reducer uses until it is dropped.
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  std::unique_ptr<c10d::Reducer> reducer;
};

namespace {

std::vector<at::Tensor> copy_handles(const at::Tensor *const *tensors, size_t count) {
  std::vector<at::Tensor> handles;
  handles.reserve(count);
  for (size_t i = 0; i < count; i++) handles.push_back(*tensors[i]);
  return handles;
}

// Starts a collective on each tensor, and then waits for all.
template <class Start> void run_on_each(const at::Tensor *const *tensors, size_t count, Start start) {
  const at::NoGradGuard no_grad;
  std::vector<c10::intrusive_ptr<c10d::Work>> works;
  for (size_t i = 0; i < count; i++) {
    std::vector<at::Tensor> one{tensors[i]->detach()};
    works.push_back(start(one));
  }
  for (const auto &work : works) work->wait();
}

// Drops what is written to the standard output stream of C++ while any of these lives: Gloo's line
// about the ranks that are connected. Rust's standard output is another stream.
class SilentOutput {
public:
  SilentOutput() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (count++ == 0) buffer = std::cout.rdbuf(nullptr);
  }
  ~SilentOutput() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (--count > 0) return;
    std::cout.rdbuf(buffer);
    std::cout.clear();
  }

private:
  static inline std::mutex mutex;
  static inline int count = 0;
  static inline std::streambuf *buffer = nullptr;
};

} // namespace

extern "C" {

maskmaker_store *maskmaker_connect_store(const char *host, uint16_t port, int listener, int64_t timeout_ms,
                                         char **error_message) {
  return catch_exceptions<maskmaker_store *>(error_message, nullptr, [&] {
    // Attempts that fail are told by what this returns, not by lines of warnings.
    FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = listener >= 0;
    if (options.isServer) options.masterListenFd = listener;
    // The server must not wait: processes join it one after the other, whenever they come.
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    return new maskmaker_store{c10::make_intrusive<c10d::TCPStore>(host, options)};
  });
}

uint16_t maskmaker_store_port(const maskmaker_store *store) { return store->store->getPort(); }

bool maskmaker_store_set(const maskmaker_store *store, const char *key, const uint8_t *value, size_t length,
                         char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    store->store->set(key, std::vector<uint8_t>(value, value + length));
    return true;
  });
}

int maskmaker_store_check(const maskmaker_store *store, const char *key, char **error_message) {
  return catch_exceptions(error_message, -1, [&] { return store->store->check({key}) ? 1 : 0; });
}

bool maskmaker_store_get(const maskmaker_store *store, const char *key,
                         void (*take)(void *context, const uint8_t *value, size_t length), void *context,
                         char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    const std::vector<uint8_t> value = store->store->get(key);
    take(context, value.data(), value.size());
    return true;
  });
}

bool maskmaker_store_wait(const maskmaker_store *store, const char *key, int64_t timeout_ms, char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    store->store->wait({key}, std::chrono::milliseconds(timeout_ms));
    return true;
  });
}

int64_t maskmaker_store_add(const maskmaker_store *store, const char *key, int64_t amount, char **error_message) {
  return catch_exceptions<int64_t>(error_message, INT64_MIN, [&] { return store->store->add(key, amount); });
}

void maskmaker_drop_store(maskmaker_store *store) { delete store; }

maskmaker_process_group *maskmaker_join_group(const maskmaker_store *store, int rank, int world_size,
                                              const char *local_address, int64_t join_timeout_ms, int64_t timeout_ms,
                                              char **error_message) {
  return catch_exceptions<maskmaker_process_group *>(error_message, nullptr, [&] {
    const auto timeout = std::chrono::milliseconds(join_timeout_ms);
    const auto names = c10::make_intrusive<c10d::PrefixStore>("process_group", store->store);
    const auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(local_address));
    const SilentOutput silent;
    const c10::intrusive_ptr<c10d::Backend> gloo =
        c10::make_intrusive<c10d::ProcessGroupGloo>(names, rank, world_size, options);
    gloo->setTimeout(std::chrono::milliseconds(timeout_ms));
    auto group = c10::make_intrusive<c10d::ProcessGroup>(names, rank, world_size);
    group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
    group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
    group->setGroupName("training");
    return new maskmaker_process_group{group};
  });
}

bool maskmaker_sum_over_ranks(const maskmaker_process_group *group, const at::Tensor *const *tensors, size_t count,
                              char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    run_on_each(tensors, count, [&](std::vector<at::Tensor> &one) { return group->group->allreduce(one); });
    return true;
  });
}

bool maskmaker_broadcast(const maskmaker_process_group *group, const at::Tensor *const *tensors, size_t count,
                         int source_rank, char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    c10d::BroadcastOptions options;
    options.rootRank = source_rank;
    run_on_each(tensors, count, [&](std::vector<at::Tensor> &one) { return group->group->broadcast(one, options); });
    return true;
  });
}

// There is no barrier: ProcessGroup::barrier writes one static tensor of the whole process without a lock
// (pytorch/pytorch#178896), and ranks that are threads of one process, as in tests, free it twice.
void maskmaker_drop_group(maskmaker_process_group *group) { delete group; }

maskmaker_reducer *maskmaker_make_reducer(const maskmaker_process_group *group, const at::Tensor *const *parameters,
                                          size_t count, char **error_message) {
  return catch_exceptions<maskmaker_reducer *>(error_message, nullptr, [&] {
    // The sizes of DistributedDataParallel: a small first bucket starts the exchange early.
    const int64_t first_bucket_bytes = c10d::kDefaultFirstBucketBytes, bucket_bytes = c10d::kDefaultBucketBytesCap;
    const std::vector<at::Tensor> handles = copy_handles(parameters, count);
    const std::vector<bool> are_sparse(count, false);
    auto [buckets, limits] = c10d::compute_bucket_assignment_by_size(
        handles, {static_cast<size_t>(first_bucket_bytes), static_cast<size_t>(bucket_bytes)}, are_sparse);
    // Gradients are ready in about the opposite order of the parameters.
    std::reverse(buckets.begin(), buckets.end());
    auto reducer = std::make_unique<c10d::Reducer>(
        handles, buckets, group->group, are_sparse, bucket_bytes, /*find_unused_parameters=*/false,
        /*gradient_as_bucket_view=*/true, std::unordered_map<size_t, std::string>(), first_bucket_bytes,
        /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 11
        ,
        std::vector<int64_t>()
#endif
    );
    return new maskmaker_reducer{group->group, std::move(reducer)};
  });
}

bool maskmaker_prepare_exchange(maskmaker_reducer *reducer, char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    reducer->reducer->rebuild_buckets();
    reducer->reducer->prepare_for_backward({});
    return true;
  });
}

void maskmaker_drop_reducer(maskmaker_reducer *reducer) { delete reducer; }
}
