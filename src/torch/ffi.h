// Declares every function and struct that C++ and Rust share, and how exceptions become messages.
// Each .cpp file includes this header. The Rust file of the same name declares the same functions
// again in its block `unsafe extern "C"`; the assertions below and those in Rust hold the layouts
// together.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>

namespace torch::jit {
struct Module;
}

extern "C" {

// --- convolution.cpp ---

// Layout of `struct Geometry` in convolution.rs.
struct maskmaker_geometry {
  int64_t padding, stride, dilation;
};
static_assert(sizeof(maskmaker_geometry) == 24, "convolution.rs asserts the same size");

// Returns the weight in the layout that oneDNN prefers for this geometry and, unless it is null,
// for an input of this shape [batch, channels, height, width]. Returns null and sets
// `error_message` where oneDNN cannot.
at::Tensor *maskmaker_pack_convolution(const at::Tensor *weight, const maskmaker_geometry *geometry,
                                       const int64_t *input_shape, char **error_message);

// Returns 1 if two packed weights hold the same bytes and 0 if not. Returns -1 and sets
// `error_message` if one is not packed.
int maskmaker_packed_equal(const at::Tensor *a, const at::Tensor *b, char **error_message);

// Returns the convolution of `input`, plus `addend` unless it is null, with ReLU last if `relu` is
// set. `addend` is overwritten, and the returned tensor is another handle of it. Returns null and
// sets `error_message` if that fails.
at::Tensor *maskmaker_convolve(const at::Tensor *input, const at::Tensor *weight, const at::Tensor *bias,
                               const maskmaker_geometry *geometry, bool relu, const at::Tensor *addend,
                               char **error_message);

// --- foreach.cpp ---

// Each function computes lists of `count` tensors, of which those at the same place have one shape.
// It returns true, or false and sets `error_message`. All but the last two overwrite `tensors`.

bool maskmaker_foreach_scale(const at::Tensor *const *tensors, size_t count, double factor, char **error_message);
// `factor` is a scalar on the tensors' device.
bool maskmaker_foreach_scale_by_tensor(const at::Tensor *const *tensors, size_t count, const at::Tensor *factor,
                                       char **error_message);
bool maskmaker_foreach_divide(const at::Tensor *const *tensors, size_t count, double divisor, char **error_message);
bool maskmaker_foreach_add_scalar(const at::Tensor *const *tensors, size_t count, double addend, char **error_message);
// Adds factor * addend.
bool maskmaker_foreach_add(const at::Tensor *const *tensors, const at::Tensor *const *addends, size_t count,
                           double factor, char **error_message);
// Adds weight * (end - tensor).
bool maskmaker_foreach_lerp(const at::Tensor *const *tensors, const at::Tensor *const *ends, size_t count,
                            double weight, char **error_message);
// Adds factor * a * b.
bool maskmaker_foreach_add_product(const at::Tensor *const *tensors, const at::Tensor *const *a,
                                   const at::Tensor *const *b, size_t count, double factor, char **error_message);
// Adds factor * dividend / divisor.
bool maskmaker_foreach_add_quotient(const at::Tensor *const *tensors, const at::Tensor *const *dividends,
                                    const at::Tensor *const *divisors, size_t count, double factor,
                                    char **error_message);
bool maskmaker_foreach_zero(const at::Tensor *const *tensors, size_t count, char **error_message);
// Writes the square roots, new tensors, to `results`.
bool maskmaker_foreach_sqrt(const at::Tensor *const *tensors, size_t count, at::Tensor **results,
                            char **error_message);
// Writes the Euclidean norms, new tensors of one element, to `results`.
bool maskmaker_foreach_norm(const at::Tensor *const *tensors, size_t count, at::Tensor **results,
                            char **error_message);

// --- gpu_math.cpp ---

// Allows TF32 in convolutions, and demands deterministic computations, of GPUs. Returns true, or
// false and sets `error_message`.
bool maskmaker_set_gpu_math(bool allow_tf32, bool deterministic, char **error_message);

// --- module.cpp ---

// Numbers of c10::ScalarType that module.rs writes by hand.
static_assert(static_cast<int>(c10::ScalarType::Half) == 5, "SCALAR_TYPE_HALF in module.rs");
static_assert(static_cast<int>(c10::ScalarType::Float) == 6, "SCALAR_TYPE_FLOAT in module.rs");
static_assert(static_cast<int>(c10::ScalarType::BFloat16) == 15, "SCALAR_TYPE_BFLOAT16 in module.rs");

// Loads a file onto `device` (-1: the processor, else the index of a GPU), with its floating-point
// tensors as `kind` (a c10::ScalarType), and freezes it: parameters become constants, and BatchNorm
// is folded. `optimize` also packs weights for oneDNN, for 32-bit floats on the processor. Returns
// null and sets `error_message` if that fails.
torch::jit::Module *maskmaker_load_module(const char *path, int device, int kind, bool optimize,
                                          char **error_message);

// Returns the logits that a module computes. Returns null and sets `error_message` if that fails.
at::Tensor *maskmaker_run_module(const torch::jit::Module *module, const at::Tensor *input, char **error_message);

void maskmaker_drop_module(torch::jit::Module *module);

// --- operator_counts.cpp ---

struct maskmaker_operator_counter;

// Counts the operators that this thread runs from now on. Returns null and sets `error_message` if
// that fails.
maskmaker_operator_counter *maskmaker_start_counting(char **error_message);
// Ends the counting, calls `take` with each name and its count, and frees the counter. It is called
// by the thread that started.
void maskmaker_stop_counting(maskmaker_operator_counter *counter,
                             void (*take)(void *context, const char *name, int64_t count), void *context);

// --- parallel.cpp ---

// Calls `work` with ranges that cover 0..count once, at the same time on as many threads as
// libtorch has. Returns null, or an error message that maskmaker_free frees.
char *maskmaker_parallel_for(int64_t count, void (*work)(const void *context, int64_t first, int64_t last),
                            const void *context);

// --- process_group.cpp ---

// Each function that returns bool returns true, or false and sets `error_message`.

struct maskmaker_store;
struct maskmaker_process_group;
struct maskmaker_reducer;

// Connects to the store at `host` and `port`. Unless `listener` is -1, it is the descriptor of a
// socket that listens there, which the store takes over and serves. Tries for `timeout_ms`
// milliseconds, which also bounds later calls. Returns null and sets `error_message` if that fails.
maskmaker_store *maskmaker_connect_store(const char *host, uint16_t port, int listener, int64_t timeout_ms,
                                         char **error_message);
uint16_t maskmaker_store_port(const maskmaker_store *store);
bool maskmaker_store_set(const maskmaker_store *store, const char *key, const uint8_t *value, size_t length,
                         char **error_message);
// Returns 1 if the store has the key and 0 if not. Returns -1 and sets `error_message` if that fails.
int maskmaker_store_check(const maskmaker_store *store, const char *key, char **error_message);
// Waits for the key, and calls `take` with its value.
bool maskmaker_store_get(const maskmaker_store *store, const char *key,
                         void (*take)(void *context, const uint8_t *value, size_t length), void *context,
                         char **error_message);
bool maskmaker_store_wait(const maskmaker_store *store, const char *key, int64_t timeout_ms, char **error_message);
// Adds to the whole number under a key, 0 at first, and returns the sum. Returns INT64_MIN and sets
// `error_message` if that fails.
int64_t maskmaker_store_add(const maskmaker_store *store, const char *key, int64_t amount, char **error_message);
void maskmaker_drop_store(maskmaker_store *store);

// Joins the processes of a store to a group over Gloo, which listens on `local_address`. Returns
// null and sets `error_message` if not all are connected within `join_timeout_ms` milliseconds.
// `timeout_ms` bounds each collective.
maskmaker_process_group *maskmaker_join_group(const maskmaker_store *store, int rank, int world_size,
                                              const char *local_address, int64_t join_timeout_ms, int64_t timeout_ms,
                                              char **error_message);
// Replaces each tensor by its sum over all ranks.
bool maskmaker_sum_over_ranks(const maskmaker_process_group *group, const at::Tensor *const *tensors, size_t count,
                              char **error_message);
// Replaces each tensor by that of `source_rank`.
bool maskmaker_broadcast(const maskmaker_process_group *group, const at::Tensor *const *tensors, size_t count,
                         int source_rank, char **error_message);
void maskmaker_drop_group(maskmaker_process_group *group);

// Makes the Reducer of DistributedDataParallel for these parameters, whose gradients become views
// of its buckets. Returns null and sets `error_message` if that fails.
maskmaker_reducer *maskmaker_make_reducer(const maskmaker_process_group *group, const at::Tensor *const *parameters,
                                          size_t count, char **error_message);
// Lets the next backward pass replace the gradients by their means over all ranks.
bool maskmaker_prepare_exchange(maskmaker_reducer *reducer, char **error_message);
void maskmaker_drop_reducer(maskmaker_reducer *reducer);

// --- nccl/nccl.cpp, a library of its own ---

// Lets the group exchange tensors on GPU `device`, too. `timeout_ms` bounds each collective.
bool maskmaker_add_nccl(const maskmaker_process_group *group, const maskmaker_store *store, int device,
                        int64_t timeout_ms, char **error_message);

// --- script.cpp ---

// Layout of `struct TensorEntry` in script.rs.
struct maskmaker_tensor_entry {
  const char *name;
  const at::Tensor *tensor;
  bool is_buffer;
};
static_assert(sizeof(maskmaker_tensor_entry) == 24, "script.rs asserts the same size");

// Statuses that script.rs writes by hand.
enum maskmaker_write_status { WRITTEN = 0, FAILED = 1, NOT_WRITABLE = 2 };

// Writes a module with `count` entries and the methods of `source` to `path`. Returns a
// maskmaker_write_status, and sets `error_message` unless it is WRITTEN.
int maskmaker_write_torchscript(const char *path, const char *class_name, const char *source,
                                const maskmaker_tensor_entry *entries, size_t count, char **error_message);

// --- sync_batch_norm.cpp ---

// Layout of `struct BatchNormLayer` in sync_batch_norm.rs. Tensors are [channels].
struct maskmaker_batch_norm {
  const at::Tensor *weight, *bias, *running_mean, *running_var;
  double momentum, epsilon;
};
static_assert(sizeof(maskmaker_batch_norm) == 48, "sync_batch_norm.rs asserts the same size");

// Returns `input` [batch, channels, height, width], normalized by the statistics of the inputs of
// all ranks, and updates the running statistics. Returns null and sets `error_message` if that
// fails.
at::Tensor *maskmaker_sync_batch_norm(const at::Tensor *input, const maskmaker_batch_norm *layer,
                                      const maskmaker_process_group *group, char **error_message);

// --- upload.cpp ---

struct maskmaker_upload_stream;
struct maskmaker_upload_event;

// Returns a queue of copies to GPU `device`. Returns null and sets `error_message` if that fails.
maskmaker_upload_stream *maskmaker_make_upload_stream(int device, char **error_message);
// Starts to copy `bytes`, which are free again when the call ends, to a tensor of this size on the
// GPU, and sets `event` to what tells that the copy is done. Returns null and sets `error_message`
// if that fails.
at::Tensor *maskmaker_start_upload(const maskmaker_upload_stream *stream, const uint8_t *bytes, const int64_t *size,
                                   size_t dimensions, maskmaker_upload_event **event, char **error_message);
// Lets the computations that this thread starts from now on wait for the copy. Returns true, or
// false and sets `error_message`.
bool maskmaker_await_upload(const maskmaker_upload_event *event, const at::Tensor *tensor, char **error_message);
void maskmaker_drop_upload_event(maskmaker_upload_event *event);
void maskmaker_drop_upload_stream(maskmaker_upload_stream *stream);

// Frees a message that any of these functions returned.
void maskmaker_free(char *text);
}

// Returns the result of `function`. If `function` throws, returns `failure` and sets
// `error_message` to a copy of the exception's message, or to null if the exception has none or
// memory ran out.
template <class Result, class Function>
Result catch_exceptions(char **error_message, Result failure, Function function) {
  *error_message = nullptr;
  try {
    try {
      return function();
    } catch (const std::exception &error) {
      *error_message = strdup(error.what());
    }
  } catch (...) {
  }
  return failure;
}

// Returns the tensor that `function` makes, on the heap. If it throws, returns null and sets
// `error_message`.
template <class Function> at::Tensor *catch_into_tensor(char **error_message, Function function) {
  return catch_exceptions<at::Tensor *>(error_message, nullptr, [&] { return new at::Tensor(function()); });
}
