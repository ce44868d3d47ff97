// A thin C ABI over pieces of libtorch that tch does not expose. Tensors are tch's own pointers, `at::Tensor*`. Each
// function returns null, or a message that the caller frees with `egofx_free`; no exception leaves this file.

#include <torch/torch.h>
#include <dlfcn.h>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {
std::vector<at::Tensor> list(at::Tensor* const* tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

template <typename F>
char* guarded(F run) {
  try {
    torch::NoGradGuard no_grad;
    run();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}
}  // namespace

extern "C" {

void egofx_free(char* text) { free(text); }

// libtorch's CUDA half, which nothing links: it must be in the process before the first call that asks for CUDA.
char* egofx_load_cuda() {
  for (const char* name : {"libcuda.so.1", "libtorch_cuda.so"})
    if (!dlopen(name, RTLD_NOW | RTLD_GLOBAL)) return strdup(dlerror());
  return nullptr;
}

// One step of Adam with decoupled (AdamW) or L2 weight decay; counts the step. State tensors are the caller's, so that
// they can be saved.
char* egofx_adam(int decoupled, at::Tensor* const* params, at::Tensor* const* grads, at::Tensor* const* means,
                 at::Tensor* const* squares, at::Tensor* const* steps, size_t n, double lr, double beta1, double beta2,
                 double decay, double eps) {
  return guarded([&] {
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
  return guarded([&] {
    if (n > 0) at::_foreach_mul_(list(tensors, n), factor);
  });
}

// Drops the gradients of `weights`, as PyTorch's zero_grad does: the next backward pass stores instead of adding.
char* egofx_forget_gradients(at::Tensor* const* weights, size_t n) {
  return guarded([&] {
    for (size_t i = 0; i < n; ++i) weights[i]->mutable_grad().reset();
  });
}

// The 2-norm over all tensors together, in double precision.
char* egofx_norm(at::Tensor* const* tensors, size_t n, double* norm) {
  return guarded([&] {
    *norm = 0.0;
    if (n == 0) return;
    auto norms = at::_foreach_norm(list(tensors, n), 2);
    for (auto& one : norms) one = one.to(at::kCPU, at::kDouble);
    *norm = at::stack(norms).norm().item<double>();
  });
}
}
