// The threads of OpenMP's team that the calling thread computes with, each on a core of its own.

#include <ATen/ATen.h>
#include <omp.h>
#include <sched.h>
#include <torch/library.h>

#include <cstdint>

namespace {

// Threads are bound from inside a parallel region, for nobody else knows them: cpus[i] are those of the i-th.
void bind_team(const at::Tensor& cpus) {
  TORCH_CHECK(cpus.dim() == 2 && cpus.scalar_type() == at::kLong && cpus.is_contiguous(),
              "processors are whole numbers, a row of them for each thread");
  const auto row_of = cpus.accessor<int64_t, 2>();
#pragma omp parallel num_threads(static_cast<int>(cpus.size(0)))
  {
    cpu_set_t own;
    CPU_ZERO(&own);
    const auto row = row_of[omp_get_thread_num()];
    for (int64_t i = 0; i < row.size(0); ++i) CPU_SET(row[i], &own);
    // One that may not run there stays where it is.
    sched_setaffinity(0, sizeof own, &own);
  }
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(calyx, library) { library.def("bind_team(Tensor cpus) -> ()", bind_team); }
