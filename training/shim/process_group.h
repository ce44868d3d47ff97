// A group of processes, as the shim's files share it: torch's own c10d with gloo on the CPU, and NCCL by its C interface on GPUs.
//
// Tensors on a GPU travel by NCCL where the group has it, else by way of the CPU. Every rank must make the same calls in the
// same order.
#pragma once

#include "shim.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <optional>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace egofx {
// NCCL, which is in the process once libtorch's CUDA half is: no CUDA headers, nothing to link.
struct NcclId {
  char bytes[128];
};

struct Nccl {
  int (*get_id)(NcclId*);
  int (*init)(void**, int, NcclId, int);
  int (*all_reduce)(const void*, void*, size_t, int, int, void*, void*);
  int (*broadcast)(const void*, void*, size_t, int, int, void*, void*);
  int (*all_gather)(const void*, void*, size_t, int, void*, void*);
  int (*destroy)(void*);
  const char* (*error)(int);

  static const Nccl& get() {
    static Nccl nccl = [] {
      void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
      if (!library) throw std::runtime_error(dlerror());
      auto symbol = [&](const char* name) {
        void* found = dlsym(library, name);
        if (!found) throw std::runtime_error(std::string("libnccl.so.2 has no ") + name);
        return found;
      };
      Nccl n;
      n.get_id = reinterpret_cast<decltype(n.get_id)>(symbol("ncclGetUniqueId"));
      n.init = reinterpret_cast<decltype(n.init)>(symbol("ncclCommInitRank"));
      n.all_reduce = reinterpret_cast<decltype(n.all_reduce)>(symbol("ncclAllReduce"));
      n.broadcast = reinterpret_cast<decltype(n.broadcast)>(symbol("ncclBroadcast"));
      n.all_gather = reinterpret_cast<decltype(n.all_gather)>(symbol("ncclAllGather"));
      n.destroy = reinterpret_cast<decltype(n.destroy)>(symbol("ncclCommDestroy"));
      n.error = reinterpret_cast<decltype(n.error)>(symbol("ncclGetErrorString"));
      return n;
    }();
    return nccl;
  }

  static void check(int status) {
    if (status != 0) throw std::runtime_error(std::string("NCCL: ") + get().error(status));
  }

  // NCCL's numbers for types (nccl.h).
  static int type(at::ScalarType type) {
    switch (type) {
      case at::kByte: return 1;
      case at::kInt: return 2;
      case at::kLong: return 4;
      case at::kHalf: return 6;
      case at::kFloat: return 7;
      case at::kDouble: return 8;
      case at::kBFloat16: return 9;
      default: throw std::runtime_error("NCCL has no type for this tensor");
    }
  }
};

constexpr int NCCL_SUM = 0;

// A tensor on its way: what computes goes on meanwhile.
struct Travelling {
  at::Tensor sum;
  c10::intrusive_ptr<c10d::Work> work;
  std::vector<at::Tensor> on_cpu;
  std::optional<c10::Event> arrived;
};

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> gloo;
  void* nccl = nullptr;
  // What sums travel on beside what computes: one, since NCCL wants what a communicator does in one order.
  std::optional<c10::Stream> travels;
  int rank;
  int size;

  ~Group() {
    if (nccl) Nccl::get().destroy(nccl);
  }

  bool by_nccl(const at::Tensor& tensor) const { return nccl && tensor.is_cuda(); }

  // Sums `tensor` over all ranks, in place.
  void sum(at::Tensor& tensor) const {
    auto travelling = start_sum(tensor);
    auto sum = awaited(travelling);
    if (!sum.is_same(tensor)) tensor.copy_(sum);
  }

  // Begins to sum `tensor` over all ranks. It must be left alone until [`awaited`].
  Travelling start_sum(at::Tensor tensor) const {
    Travelling travelling{tensor, {}, {}, {}};
    if (by_nccl(tensor)) {
      const auto& stream = *travels;
      c10::Event ready(at::kCUDA);
      ready.record(c10::impl::VirtualGuardImpl(at::kCUDA).getStream(tensor.device()));
      ready.block(stream);
      Nccl::check(Nccl::get().all_reduce(tensor.data_ptr(), tensor.data_ptr(), tensor.numel(),
                                         Nccl::type(tensor.scalar_type()), NCCL_SUM, nccl, stream.native_handle()));
      travelling.arrived.emplace(at::kCUDA);
      travelling.arrived->record(stream);
      return travelling;
    }
    travelling.on_cpu = {tensor.cpu()};
    travelling.work = gloo->allreduce(travelling.on_cpu);
    return travelling;
  }

  // The sum; on a GPU what computes next waits for it, and not this thread.
  static at::Tensor awaited(Travelling& travelling) {
    auto& sum = travelling.sum;
    if (travelling.arrived) {
      travelling.arrived->block(c10::impl::VirtualGuardImpl(at::kCUDA).getStream(sum.device()));
      return sum;
    }
    travelling.work->wait();
    return travelling.on_cpu[0].to(sum.device());
  }

  void send_from(int root, at::Tensor& tensor) const {
    if (by_nccl(tensor)) {
      Nccl::check(Nccl::get().broadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.numel(),
                                        Nccl::type(tensor.scalar_type()), root, nccl, nullptr));
      return;
    }
    c10d::BroadcastOptions options;
    options.rootRank = root;
    std::vector<at::Tensor> on_cpu{tensor.cpu()};
    gloo->broadcast(on_cpu, options)->wait();
    if (!on_cpu[0].is_same(tensor)) tensor.copy_(on_cpu[0]);
  }

  // `tensor` of all ranks, one after the other along the first dimension.
  at::Tensor gathered(const at::Tensor& tensor) const {
    auto sizes = tensor.sizes().vec();
    sizes[0] *= size;
    if (by_nccl(tensor)) {
      auto all = at::empty(sizes, tensor.options());
      Nccl::check(Nccl::get().all_gather(tensor.data_ptr(), all.data_ptr(), tensor.numel(),
                                         Nccl::type(tensor.scalar_type()), nccl, nullptr));
      return all;
    }
    std::vector<at::Tensor> on_cpu{tensor.cpu()};
    std::vector<std::vector<at::Tensor>> parts(1);
    for (int i = 0; i < size; ++i) parts[0].push_back(at::empty_like(on_cpu[0]));
    gloo->allgather(parts, on_cpu)->wait();
    return at::cat(parts[0]).to(tensor.device());
  }
};
}  // namespace egofx
