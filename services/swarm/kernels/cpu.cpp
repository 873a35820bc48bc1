// What a decoder layer computes between two matrix products, for a batch of tokens of many texts, on a CPU.
//
// As operators of torch these are some forty small calls a layer, which take longer than the products of a single
// token. Numbers are float or bfloat16 in memory and float in between.
// The compiler turns the loops into vector instructions, as services/swarm/kernels/build.py asks it to.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <tuple>
#include <vector>

namespace {

using at::Tensor;
// As at::BFloat16 it would be a structure, of which the compiler makes no vectors.
using BFloat16 = uint16_t;

// Fewer multiplications than this take less time than waking another thread.
constexpr int64_t kSmall = 1 << 17;
// Keys whose scores are held at a time; a text's are taken block by block, as in FlashAttention
// (Dao et al. 2022, https://arxiv.org/abs/2205.14135), so that a long one needs no more room than a short one.
constexpr int64_t kBlock = 64;

inline float load(const float* at) { return *at; }
inline float load(const BFloat16* at) {
  return std::bit_cast<float>(static_cast<uint32_t>(*at) << 16);
}

// To the nearest, ties to even; numbers that are none are not expected here.
inline uint32_t nearest_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return bits + 0x7fff + (bits >> 16 & 1);
}

inline void store(float* at, float value) { *at = value; }
inline void store(BFloat16* at, float value) {
  *at = static_cast<BFloat16>(nearest_bfloat16(value) >> 16);
}

template <class T>
inline float rounded(float value) {
  if constexpr (std::is_same_v<T, float>) return value;
  return std::bit_cast<float>(nearest_bfloat16(value) & 0xffff0000);
}

// e to the power of each of these, none of which is above 0: a power of two, times the Taylor series of what is left,
// which is off by less than a float can tell.
inline void exponentiate(float* values, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float value = std::max(values[i], -87.0f);
    const float power = std::nearbyint(value * 1.44269504f);
    const float rest = (value - power * 0.693359375f) + power * 2.12194440e-4f;
    float sum = 1.0f / 720;
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    values[i] = sum * std::bit_cast<float>((static_cast<int32_t>(power) + 127) << 23);
  }
}

template <class T>
inline float dot(const float* query, const T* key, int64_t size) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += query[i] * load(key + i);
  return sum;
}

// A matrix of rows of heads, each of whose numbers lie side by side.
template <class T>
struct Heads {
  T* first;
  int64_t row, head;

  explicit Heads(const Tensor& tensor)
      : first(static_cast<T*>(tensor.data_ptr())), row(tensor.stride(0)), head(tensor.stride(1)) {
    TORCH_CHECK(tensor.dim() == 3 && tensor.stride(2) == 1, "heads [rows, heads, size] must have numbers side by side");
  }
  T* at(int64_t row_number, int64_t head_number) const { return first + row_number * row + head_number * head; }
};

// Root mean square normalization of one row, rounded once.
template <class X, class T>
inline void normalize(const X* x, const T* weight, float epsilon, int64_t size, T* y) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < size; ++i) squares += load(x + i) * load(x + i);
  const float scale = 1.0f / std::sqrt(squares / size + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) store(y + i, load(weight + i) * (load(x + i) * scale));
}

template <class X, class T>
void rms_norm_of(const Tensor& input, const Tensor& weight, double epsilon, Tensor& output) {
  const int64_t size = weight.numel(), rows = input.numel() / size;
  const T* w = static_cast<const T*>(weight.const_data_ptr());
  const X* x = static_cast<const X*>(input.const_data_ptr());
  T* y = static_cast<T*>(output.mutable_data_ptr());
  at::parallel_for(0, rows, std::max<int64_t>(1, kSmall / size), [&](int64_t begin, int64_t end) {
    for (int64_t at = begin * size; at < end * size; at += size) normalize(x + at, w, epsilon, size, y + at);
  });
}

template <class X, class T>
void add_and_norm_of(const Tensor& input, const Tensor& other, const Tensor& weight, double epsilon, Tensor& sum,
                     Tensor& output) {
  const int64_t size = weight.numel(), rows = input.numel() / size;
  const T *w = static_cast<const T*>(weight.const_data_ptr()), *more = static_cast<const T*>(other.const_data_ptr());
  const X* x = static_cast<const X*>(input.const_data_ptr());
  float* both = static_cast<float*>(sum.mutable_data_ptr());
  T* y = static_cast<T*>(output.mutable_data_ptr());
  at::parallel_for(0, rows, std::max<int64_t>(1, kSmall / size), [&](int64_t begin, int64_t end) {
    for (int64_t at = begin * size; at < end * size; at += size) {
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) both[at + i] = load(x + at + i) + load(more + at + i);
      normalize(both + at, w, epsilon, size, y + at);
    }
  });
}

// The two halves of a head are turned against each other, as Llama and most others have it.
template <class T>
inline void rotate(const T* x, const T* cosines, const T* sines, T* y, int64_t size) {
  const int64_t half = size / 2;
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float low = load(x + i), high = load(x + half + i);
    store(y + i, rounded<T>(low * load(cosines + i)) - rounded<T>(high * load(sines + i)));
    store(y + half + i,
          rounded<T>(high * load(cosines + half + i)) + rounded<T>(low * load(sines + half + i)));
  }
}

template <class T>
void rotate_and_keep_of(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& cosines,
                        const Tensor& sines, const Tensor& keys, const Tensor& values, const Tensor& slots,
                        Tensor& turned) {
  const Heads<T> q(query), k(key), v(value), kept_keys(keys), kept_values(values), out(turned);
  const int64_t tokens = query.size(0), size = query.size(2);
  const T* cosine = static_cast<const T*>(cosines.const_data_ptr());
  const T* sine = static_cast<const T*>(sines.const_data_ptr());
  const int64_t* slot = slots.const_data_ptr<int64_t>();
  const int64_t each = (query.size(1) + key.size(1)) * size;
  at::parallel_for(0, tokens, std::max<int64_t>(1, kSmall / each), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const T *c = cosine + token * size, *s = sine + token * size;
      for (int64_t head = 0; head < query.size(1); ++head) rotate(q.at(token, head), c, s, out.at(token, head), size);
      for (int64_t head = 0; head < key.size(1); ++head) {
        rotate(k.at(token, head), c, s, kept_keys.at(slot[token], head), size);
        std::memcpy(kept_values.at(slot[token], head), v.at(token, head), sizeof(T) * value.size(2));
      }
    }
  });
}

struct Rules {
  float scale, softcap;
};

// Attention of the queries of one token that share a head of keys.
template <class T>
void attend_group(const T* queries, int64_t query_stride, int64_t group, int64_t size, const T* keys,
                  int64_t key_stride, const T* values, int64_t value_stride, int64_t value_size, int64_t length,
                  Rules rules, T* outputs, int64_t output_stride, std::vector<float>& room) {
  room.assign(group * (size + value_size + 2), 0.0f);
  float *query = room.data(), *sums = query + group * size;
  float *largest = sums + group * value_size, *weights = largest + group;
  for (int64_t g = 0; g < group; ++g) {
    largest[g] = -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < size; ++i) query[g * size + i] = load(queries + g * query_stride + i) * rules.scale;
  }
  float scores[kBlock];
  for (int64_t begin = 0; begin < length; begin += kBlock) {
    const int64_t count = std::min(kBlock, length - begin);
    for (int64_t g = 0; g < group; ++g) {
      float* sum = sums + g * value_size;
      for (int64_t j = 0; j < count; ++j) scores[j] = dot(query + g * size, keys + (begin + j) * key_stride, size);
      if (rules.softcap > 0)
        for (int64_t j = 0; j < count; ++j) scores[j] = rules.softcap * std::tanh(scores[j] / rules.softcap);
      const float top = std::max(largest[g], *std::max_element(scores, scores + count));
      const float shrink = std::exp(largest[g] - top);
      largest[g] = top;
      for (int64_t j = 0; j < count; ++j) scores[j] -= top;
      exponentiate(scores, count);
      float weight = 0;
      for (int64_t j = 0; j < count; ++j) weight += scores[j];
      weights[g] = weights[g] * shrink + weight;
      for (int64_t i = 0; i < value_size; ++i) sum[i] *= shrink;
      for (int64_t j = 0; j < count; ++j) {
        const T* value = values + (begin + j) * value_stride;
#pragma omp simd
        for (int64_t i = 0; i < value_size; ++i) sum[i] += scores[j] * load(value + i);
      }
    }
  }
  for (int64_t g = 0; g < group; ++g)
    for (int64_t i = 0; i < value_size; ++i)
      store(outputs + g * output_stride + i, length ? sums[g * value_size + i] / weights[g] : 0.0f);
}

template <class T>
void attend_of(const Tensor& query, const Tensor& keys, const Tensor& values, const Tensor& starts,
               const Tensor& lengths, Rules rules, Tensor& output) {
  const Heads<T> q(query), k(keys), v(values), out(output);
  const int64_t kv_heads = keys.size(1), group = query.size(1) / kv_heads, size = query.size(2);
  const int64_t *start = starts.const_data_ptr<int64_t>(), *length = lengths.const_data_ptr<int64_t>();
  const int64_t parts = query.size(0) * kv_heads;
  int64_t work = 0;
  for (int64_t token = 0; token < query.size(0); ++token) work += length[token] * query.size(1) * size;
  const int64_t grain = std::max<int64_t>(1, parts * kSmall / std::max<int64_t>(1, work));
  at::parallel_for(0, parts, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> room;
    for (int64_t part = begin; part < end; ++part) {
      const int64_t token = part / kv_heads, head = part % kv_heads;
      attend_group(q.at(token, head * group), q.head, group, size, k.at(start[token], head), k.row,
                   v.at(start[token], head), v.row, values.size(2), length[token], rules,
                   out.at(token, head * group), out.head, room);
    }
  });
}

template <class Work>
void for_type_of(const Tensor& tensor, Work work) {
  if (tensor.scalar_type() == at::kFloat) return work(float());
  TORCH_CHECK(tensor.scalar_type() == at::kBFloat16, "numbers must be float or bfloat16");
  work(BFloat16());
}

void check_width(const Tensor& input, const Tensor& weight) {
  TORCH_CHECK(input.dim() > 0 && weight.dim() == 1 && weight.is_contiguous() && input.size(-1) == weight.numel(),
              "a norm must have a weight for each number of a row");
}

Tensor rms_norm(const Tensor& input, const Tensor& weight, double epsilon) {
  check_width(input, weight);
  const Tensor rows = input.contiguous();
  Tensor output = at::empty(rows.sizes(), weight.options());
  for_type_of(rows, [&](auto x) {
    for_type_of(weight, [&](auto w) { rms_norm_of<decltype(x), decltype(w)>(rows, weight, epsilon, output); });
  });
  return output;
}

std::tuple<Tensor, Tensor> add_and_norm(const Tensor& input, const Tensor& other, const Tensor& weight,
                                        double epsilon) {
  check_width(input, weight);
  TORCH_CHECK(input.sizes() == other.sizes() && other.scalar_type() == weight.scalar_type(),
              "what is added must have the shape of the input and the type of the weight");
  const Tensor rows = input.contiguous(), more = other.contiguous();
  Tensor sum = at::empty(rows.sizes(), rows.options().dtype(at::kFloat));
  Tensor output = at::empty(rows.sizes(), weight.options());
  for_type_of(rows, [&](auto x) {
    for_type_of(weight, [&](auto w) {
      add_and_norm_of<decltype(x), decltype(w)>(rows, more, weight, epsilon, sum, output);
    });
  });
  return {sum, output};
}

Tensor rotate_and_keep(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& cosines,
                       const Tensor& sines, Tensor keys, Tensor values, const Tensor& slots) {
  Tensor turned = at::empty(query.sizes(), query.options());
  const Tensor c = cosines.contiguous(), s = sines.contiguous();
  for_type_of(query, [&](auto number) {
    rotate_and_keep_of<decltype(number)>(query, key, value, c, s, keys, values, slots, turned);
  });
  return turned;
}

Tensor attend(const Tensor& query, const Tensor& keys, const Tensor& values, const Tensor& starts,
              const Tensor& lengths, double scale, double softcap) {
  Tensor output = at::empty({query.size(0), query.size(1), values.size(2)}, query.options());
  const Rules rules{static_cast<float>(scale), static_cast<float>(softcap)};
  for_type_of(query, [&](auto number) {
    attend_of<decltype(number)>(query, keys, values, starts, lengths, rules, output);
  });
  return output;
}

}  // namespace

TORCH_LIBRARY(calyx, library) {
  library.def("rms_norm(Tensor input, Tensor weight, float epsilon) -> Tensor", rms_norm);
  library.def("add_and_norm(Tensor input, Tensor other, Tensor weight, float epsilon) -> (Tensor sum, Tensor normed)",
              add_and_norm);
  library.def(
      "rotate_and_keep(Tensor query, Tensor key, Tensor value, Tensor cosines, Tensor sines, Tensor(a!) keys, "
      "Tensor(b!) values, Tensor slots) -> Tensor",
      rotate_and_keep);
  library.def(
      "attend(Tensor query, Tensor keys, Tensor values, Tensor starts, Tensor lengths, float scale, float softcap) "
      "-> Tensor",
      attend);
}
