// A decoder layer in one call: services/swarm/serving/fused.py does the same operator by operator, and what Python does
// in between takes a fifth as long as the operators of a step of few tokens.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using at::Tensor;

template <class Signature>
auto operator_named(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

// A weight in oneDNN's order, and what is added to its product.
struct Linear {
  Tensor weight;
  std::optional<Tensor> bias;

  Tensor operator()(const Tensor& input, std::string_view activation = "none") const {
    static const auto product =
        operator_named<Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                              c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>)>(
            "mkldnn::_linear_pointwise");
    return product.call(input, weight, bias, activation, c10::List<std::optional<at::Scalar>>(), "");
  }

  Tensor times(const Tensor& input, const Tensor& other) const {
    static const auto product =
        operator_named<Tensor(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&,
                              std::string_view)>("mkldnn::_linear_pointwise", "binary");
    return product.call(input, other, weight, bias, "mul");
  }
};

struct Norm {
  Tensor weight;
  double epsilon;

  Tensor operator()(const Tensor& input) const {
    static const auto norm = operator_named<Tensor(const Tensor&, const Tensor&, double)>("calyx::rms_norm");
    return norm.call(input, weight, epsilon);
  }

  std::tuple<Tensor, Tensor> of_sum(const Tensor& input, const Tensor& other) const {
    static const auto norm =
        operator_named<std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, double)>(
            "calyx::add_and_norm");
    return norm.call(input, other, weight, epsilon);
  }
};

class GatedLayer : public torch::CustomClassHolder {
 public:
  // norms: before attention, between it and the gated unit, and then of queries and keys, if they have any.
  // weights and biases: of query, key, value, output, gate, up, down.
  GatedLayer(std::vector<Tensor> norms, std::vector<double> epsilons, std::vector<Tensor> weights,
             std::vector<std::optional<Tensor>> biases) {
    TORCH_CHECK((norms.size() == 2 || norms.size() == 4) && epsilons.size() == norms.size(),
                "a layer has two norms, or four");
    TORCH_CHECK(weights.size() == 7 && biases.size() == 7, "a layer has seven products");
    for (size_t i = 0; i < norms.size(); ++i) norms_.push_back({norms[i], epsilons[i]});
    for (size_t i = 0; i < weights.size(); ++i) products_.push_back({weights[i], biases[i]});
  }

  Tensor run(const Tensor& hidden, const Tensor& cosines, const Tensor& sines, Tensor keys, Tensor values,
             const Tensor& slots, const Tensor& starts, const Tensor& lengths, double scale, double softcap) {
    static const auto rotate_and_keep =
        operator_named<Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, Tensor, Tensor,
                              const Tensor&)>("calyx::rotate_and_keep");
    static const auto attend = operator_named<Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                     const Tensor&, double, double)>("calyx::attend");
    const auto& [query_of, key_of, value_of, output_of, gate_of, up_of, down_of] =
        std::tie(products_[0], products_[1], products_[2], products_[3], products_[4], products_[5], products_[6]);
    const int64_t tokens = hidden.size(0);
    Tensor input = norms_[0](hidden);
    Tensor query = query_of(input).view({tokens, -1, keys.size(2)});
    Tensor key = key_of(input).view({tokens, -1, keys.size(2)});
    const Tensor value = value_of(input).view({tokens, -1, values.size(2)});
    if (norms_.size() == 4) std::tie(query, key) = std::make_pair(norms_[2](query), norms_[3](key));
    query = rotate_and_keep.call(query, key, value, cosines, sines, keys, values, slots);
    const Tensor seen = attend.call(query, keys, values, starts, lengths, scale, softcap);
    Tensor sum;
    std::tie(sum, input) = norms_[1].of_sum(hidden, output_of(seen.view({tokens, -1})));
    return sum + down_of(up_of.times(input, gate_of(input, "swish")));
  }

 private:
  std::vector<Norm> norms_;
  std::vector<Linear> products_;
};

}  // namespace

TORCH_LIBRARY_FRAGMENT(calyx, library) {
  library.class_<GatedLayer>("GatedLayer")
      .def(torch::init<std::vector<Tensor>, std::vector<double>, std::vector<Tensor>,
                       std::vector<std::optional<Tensor>>>())
      .def("run", &GatedLayer::run);
}
