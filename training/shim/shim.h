// What the shim's files share. Tensors are tch's own pointers, `at::Tensor*`. Each function returns null, or a message that
// the caller frees with `egofx_free`; no exception leaves the shim.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace egofx {
inline std::vector<at::Tensor> list(at::Tensor* const* tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

template <typename F>
char* guarded(F run) {
  try {
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

template <typename F>
char* without_gradient(F run) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    run();
  });
}
}  // namespace egofx
