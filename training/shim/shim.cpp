// A thin C ABI over pieces of libtorch that tch does not expose: CUDA at run time, optimiser steps, norms, autocast.

#include "shim.h"

#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>
#include <torch/version.h>

using egofx::list;
using egofx::without_gradient;

extern "C" {

void egofx_free(char* text) { free(text); }

// The version of libtorch; the caller does not free it.
const char* egofx_libtorch_version() { return TORCH_VERSION; }

// libtorch's CUDA half, which nothing links: it must be in the process before the first call that asks for CUDA.
char* egofx_load_cuda() {
  for (const char* name : {"libcuda.so.1", "libtorch_cuda.so"})
    if (!dlopen(name, RTLD_NOW | RTLD_GLOBAL)) return strdup(dlerror());
  return nullptr;
}

// The most bytes that tensors on a GPU took at once so far.
char* egofx_cuda_peak_bytes(int device, int64_t* bytes) {
  return without_gradient([&] {
    auto stats = c10::getDeviceAllocator(c10::DeviceType::CUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = stats.allocated_bytes[all].peak;
  });
}

// One step of Adam with decoupled (AdamW) or L2 weight decay; counts the step. State tensors are the caller's, so that
// they can be saved.
char* egofx_adam(int decoupled, at::Tensor* const* params, at::Tensor* const* grads, at::Tensor* const* means,
                 at::Tensor* const* squares, at::Tensor* const* steps, size_t n, double lr, double beta1, double beta2,
                 double decay, double eps) {
  return without_gradient([&] {
    auto p = list(params, n), g = list(grads, n), m = list(means, n), v = list(squares, n), s = list(steps, n);
    if (n == 0) return;
    at::_foreach_add_(s, 1);
    if (decoupled)
      at::_fused_adamw_(p, g, m, v, {}, s, lr, beta1, beta2, decay, eps, false, false);
    else
      at::_fused_adam_(p, g, m, v, {}, s, lr, beta1, beta2, decay, eps, false, false);
  });
}

// Multiplies every tensor by `factor`, in place.
char* egofx_scale(at::Tensor* const* tensors, size_t n, double factor) {
  return without_gradient([&] {
    if (n > 0) at::_foreach_mul_(list(tensors, n), factor);
  });
}

// Drops the gradients of `weights`, as PyTorch's zero_grad does: the next backward pass stores instead of adding.
char* egofx_zero_grad(at::Tensor* const* weights, size_t n) {
  return without_gradient([&] {
    for (size_t i = 0; i < n; ++i) weights[i]->mutable_grad().reset();
  });
}

// A copy of `tensor` in memory that the driver may read by itself. tch says the device too, which libtorch has deprecated.
char* egofx_pin_memory(const at::Tensor* tensor, at::Tensor** pinned) {
  return without_gradient([&] { *pinned = new at::Tensor(tensor->pin_memory()); });
}

// The 2-norm over all tensors together, in double precision.
char* egofx_norm(at::Tensor* const* tensors, size_t n, double* norm) {
  return without_gradient([&] {
    *norm = 0.0;
    if (n == 0) return;
    auto norms = at::_foreach_norm(list(tensors, n), 2);
    for (auto& one : norms) one = one.to(at::kCPU, at::kDouble);
    *norm = at::stack(norms).norm().item<double>();
  });
}

// The type in which operators that gain from it compute on that device, on this thread; `enabled` 0 switches that off.
char* egofx_autocast(int cuda, int enabled, int8_t dtype) {
  return without_gradient([&] {
    auto device = cuda ? at::kCUDA : at::kCPU;
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(dtype));
    at::autocast::set_autocast_enabled(device, enabled != 0);
    // Weights that were cast are kept until the step is over.
    if (!enabled) at::autocast::clear_cache();
  });
}
}
