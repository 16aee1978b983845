// Copies from the host to a GPU while the GPU computes, by libtorch's own streams and events, which
// need no CUDA headers. The Rust face is upload.rs.

#include "ffi.h"

#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstring>
#include <memory>

struct maskmaker_upload_stream {
  c10::Stream stream;
};

struct maskmaker_upload_event {
  c10::Event event;
};

extern "C" {

maskmaker_upload_stream *maskmaker_make_upload_stream(int device, char **error_message) {
  return catch_exceptions<maskmaker_upload_stream *>(error_message, nullptr, [&] {
    const c10::Device gpu(c10::kCUDA, static_cast<c10::DeviceIndex>(device));
    return new maskmaker_upload_stream{c10::impl::VirtualGuardImpl(c10::kCUDA).getStreamFromGlobalPool(gpu)};
  });
}

at::Tensor *maskmaker_start_upload(const maskmaker_upload_stream *stream, const uint8_t *bytes, const int64_t *size,
                                   size_t dimensions, maskmaker_upload_event **event, char **error_message) {
  return catch_into_tensor(error_message, [&] {
    // libtorch keeps page-locked memory of freed tensors, and gives it out again only after the copies
    // from it are done.
    const at::Tensor host = at::empty(c10::IntArrayRef(size, dimensions),
                                      at::TensorOptions().dtype(at::kByte).pinned_memory(true));
    std::memcpy(host.data_ptr(), bytes, host.nbytes());
    const c10::StreamGuard guard(stream->stream);
    at::Tensor copy = host.to(stream->stream.device(), /*non_blocking=*/true);
    auto done = std::make_unique<maskmaker_upload_event>(maskmaker_upload_event{c10::Event(c10::kCUDA)});
    done->event.record(stream->stream);
    *event = done.release();
    return copy;
  });
}

bool maskmaker_await_upload(const maskmaker_upload_event *event, const at::Tensor *tensor, char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    const c10::Stream current = c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(tensor->device());
    event->event.block(current);
    // The memory belongs to the stream of the copy, and must not be given out again before the
    // computations on this stream are done.
    tensor->record_stream(current);
    return true;
  });
}

void maskmaker_drop_upload_event(maskmaker_upload_event *event) { delete event; }

void maskmaker_drop_upload_stream(maskmaker_upload_stream *stream) { delete stream; }
}
