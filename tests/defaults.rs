//! Attributes that are left out have the value that the specification gives them, and it matters: stated, it gives the same
//! bits, and another value gives others.
//!
//! Inputs are chosen so that each attribute tells: rows of a thousandth for the epsilons of norms, ties for the first of
//! equals, negative integers for remainders.

use prost::Message;
use trine_ir::{Tensor, eval};

use crate::model::{Named, noise, proto, run};

/// A node with what it cannot do without, the default of an attribute, and another value of it.
type Row = (&'static str, &'static str, &'static str);

const NORMS: [Row; 23] = [
    ("y = LayerNormalization(milli, g6, b6)", "epsilon: 0.00001", "epsilon: 0.001"),
    ("y, m, d = LayerNormalization(milli, g6, b6)", "axis: -1", "axis: 1"),
    ("y = RMSNormalization(milli, g6)", "epsilon: 0.00001", "epsilon: 0.001"),
    ("y = RMSNormalization(milli, g6)", "axis: -1", "axis: 1"),
    ("y = SimplifiedLayerNormalization(milli, g6)", "epsilon: 0.00001", "epsilon: 0.001"),
    ("y = SimplifiedLayerNormalization(milli, g6)", "axis: -1", "axis: 1"),
    ("y = InstanceNormalization(dim, g4, b4)", "epsilon: 0.00001", "epsilon: 0.001"),
    ("y = GroupNormalization(dim, g4, b4) {num_groups: 2}", "epsilon: 0.00001", "epsilon: 0.001"),
    ("y = BatchNormalization(dim, g4, b4, b4, small4)", "epsilon: 0.00001", "epsilon: 0.001"),
    (
        "y, m, v = BatchNormalization(dim, g4, b4, b4, small4) {training_mode: 1}",
        "epsilon: 0.00001",
        "epsilon: 0.001",
    ),
    (
        "y, m, v = BatchNormalization(dim, g4, b4, b4, small4) {training_mode: 1}",
        "momentum: 0.9",
        "momentum: 0.99",
    ),
    ("y = BatchNormalization(dim, g4, b4, b4, small4)", "training_mode: 0", "training_mode: 1"),
    ("y = ms.SkipLayerNormalization(micro, micro, g6, b6)", "epsilon: 0.000000000001", "epsilon: 0.00001"),
    (
        "y = ms.SkipSimplifiedLayerNormalization(micro, micro, g6)",
        "epsilon: 0.000000000001",
        "epsilon: 0.00001",
    ),
    (
        "y = ms.EmbedLayerNormalization(ids, _, table, table, _, g6, b6)",
        "epsilon: 0.000000000001",
        "epsilon: 0.00001",
    ),
    ("y = LpNormalization(x)", "p: 2", "p: 1"),
    ("y = LpNormalization(x)", "axis: -1", "axis: 1"),
    ("y = LRN(image) {size: 3}", "alpha: 0.0001", "alpha: 0.1"),
    ("y = LRN(image) {size: 3, bias: 2.0}", "beta: 0.75", "beta: 0.5"),
    ("y = LRN(image) {size: 3}", "bias: 1.0", "bias: 2.0"),
    ("y = MeanVarianceNormalization(image)", "axes: [0 2 3]", "axes: [2 3]"),
    ("y = ReduceL2(x)", "keepdims: 1", "keepdims: 0"),
    ("y = ReduceSum(x)", "noop_with_empty_axes: 0", "noop_with_empty_axes: 1"),
];

const ACTIVATIONS: [Row; 13] = [
    ("y = LeakyRelu(x)", "alpha: 0.01", "alpha: 0.1"),
    ("y = ThresholdedRelu(wide)", "alpha: 1.0", "alpha: 0.5"),
    ("y = Elu(x)", "alpha: 1.0", "alpha: 2.0"),
    ("y = Celu(x)", "alpha: 1.0", "alpha: 2.0"),
    ("y = Selu(x)", "alpha: 1.67326319217681884765625", "alpha: 1.6732"),
    ("y = Selu(x)", "gamma: 1.05070102214813232421875", "gamma: 1.0507"),
    ("y = HardSigmoid(x)", "alpha: 0.2", "alpha: 0.1"),
    ("y = HardSigmoid(x)", "beta: 0.5", "beta: 0.25"),
    ("y = Swish(x)", "alpha: 1.0", "alpha: 1.702"),
    ("y = Gelu(x)", "approximate: none", "approximate: tanh"),
    ("y = ms.QuickGelu(x)", "alpha: 1.702", "alpha: 1.0"),
    ("y = Softmax(x)", "axis: -1", "axis: 1"),
    ("y = LogSoftmax(x)", "axis: -1", "axis: 1"),
];

const PRODUCTS: [Row; 24] = [
    ("y = Gemm(square, square, b6)", "alpha: 1.0", "alpha: 2.0"),
    ("y = Gemm(square, square, b6)", "beta: 1.0", "beta: 2.0"),
    ("y = Gemm(square, square, b6)", "transA: 0", "transA: 1"),
    ("y = Gemm(square, square, b6)", "transB: 0", "transB: 1"),
    ("y = ms.FusedMatMul(square, square)", "alpha: 1.0", "alpha: 2.0"),
    ("y = ms.FusedMatMul(square, square)", "transA: 0", "transA: 1"),
    ("y = ms.FusedMatMul(square, square)", "transB: 0", "transB: 1"),
    ("y = Conv(image, w)", "strides: [1 1]", "strides: [2 2]"),
    ("y = Conv(image, w)", "dilations: [1 1]", "dilations: [2 2]"),
    ("y = Conv(image, w)", "pads: [0 0 0 0]", "pads: [1 1 1 1]"),
    ("y = Conv(image, w)", "auto_pad: NOTSET", "auto_pad: SAME_UPPER"),
    ("y = ConvTranspose(image, w)", "strides: [1 1]", "strides: [2 2]"),
    ("y = ConvTranspose(image, w)", "dilations: [1 1]", "dilations: [2 2]"),
    ("y = ConvTranspose(image, w) {strides: [2 2]}", "output_padding: [0 0]", "output_padding: [1 1]"),
    ("y = Attention(heads, heads, heads)", "scale: 0.5", "scale: 0.25"),
    ("y = Attention(heads, heads, heads)", "is_causal: 0", "is_causal: 1"),
    ("y = Attention(heads, heads, heads)", "softcap: 0.0", "softcap: 0.5"),
    (
        "y, _, _, s = Attention(heads, heads, heads) {is_causal: 1}",
        "qk_matmul_output_mode: 0",
        "qk_matmul_output_mode: 3",
    ),
    (
        "y = ms.MultiHeadAttention(x, x, x, _, keep) {num_heads: 2}",
        "mask_filter_value: -10000.0",
        "mask_filter_value: -1.0",
    ),
    ("y = ms.MultiHeadAttention(x, x, x) {num_heads: 2}", "unidirectional: 0", "unidirectional: 1"),
    ("y = RotaryEmbedding(heads, cos, sin)", "interleaved: 0", "interleaved: 1"),
    ("y, h, c = LSTM(x, w_lstm, r_lstm) {hidden_size: 2}", "direction: forward", "direction: reverse"),
    ("y, h, c = LSTM(x, w_lstm, r_lstm) {hidden_size: 2}", "input_forget: 0", "input_forget: 1"),
    ("y, h = GRU(x, w_gru, r_gru) {hidden_size: 2}", "linear_before_reset: 0", "linear_before_reset: 1"),
];

const PLACES: [Row; 39] = [
    ("y = EyeLike(square)", "k: 0", "k: 1"),
    ("y = ReverseSequence(square, ends)", "batch_axis: 1, time_axis: 0", "batch_axis: 0, time_axis: 1"),
    ("y, i = Unique(ties)", "sorted: 1", "sorted: 0"),
    ("y = Hardmax(ties)", "axis: -1", "axis: 0"),
    ("y = Flatten(x)", "axis: 1", "axis: 2"),
    ("y = ArgMax(ties)", "axis: 0", "axis: 1"),
    ("y = ArgMax(ties)", "keepdims: 1", "keepdims: 0"),
    ("y = ArgMax(ties)", "select_last_index: 0", "select_last_index: 1"),
    ("y = ArgMin(ties)", "axis: 0", "axis: 1"),
    ("y = ArgMin(ties)", "select_last_index: 0", "select_last_index: 1"),
    ("y, i = TopK(x, two)", "axis: -1", "axis: 1"),
    ("y, i = TopK(x, two)", "largest: 1", "largest: 0"),
    ("y = CumSum(x, one)", "exclusive: 0", "exclusive: 1"),
    ("y = CumSum(x, one)", "reverse: 0", "reverse: 1"),
    ("y = Trilu(square)", "upper: 1", "upper: 0"),
    ("y = OneHot(picked, six, off_on)", "axis: -1", "axis: 0"),
    ("y = Gather(square, picked)", "axis: 0", "axis: 1"),
    ("y = GatherElements(square, chosen)", "axis: 0", "axis: 1"),
    ("y = GatherND(x, pairs)", "batch_dims: 0", "batch_dims: 1"),
    ("y = ScatterElements(square, chosen, updates)", "axis: 0", "axis: 1"),
    ("y = ScatterElements(square, chosen, updates)", "reduction: none", "reduction: add"),
    ("y = ScatterND(square, row, b6_row)", "reduction: none", "reduction: add"),
    ("y, z = Split(x) {num_outputs: 2}", "axis: 0", "axis: 1"),
    ("y = Pad(x, pads)", "mode: constant", "mode: edge"),
    ("y = DepthToSpace(deep) {blocksize: 2}", "mode: DCR", "mode: CRD"),
    ("y = Transpose(x)", "perm: [2 1 0]", "perm: [0 2 1]"),
    ("y = Shape(x)", "start: 0", "start: 1"),
    ("y = Mod(left, right)", "fmod: 0", "fmod: 1"),
    ("y = IsInf(infinite)", "detect_negative: 1", "detect_negative: 0"),
    ("y = IsInf(infinite)", "detect_positive: 1", "detect_positive: 0"),
    ("y = MaxPool(image) {kernel_shape: [2 2]}", "strides: [1 1]", "strides: [2 2]"),
    ("y = MaxPool(image) {kernel_shape: [2 2]}", "dilations: [1 1]", "dilations: [2 2]"),
    ("y = MaxPool(image) {kernel_shape: [2 2], strides: [2 2]}", "ceil_mode: 0", "ceil_mode: 1"),
    ("y, i = MaxPool(image) {kernel_shape: [2 2]}", "storage_order: 0", "storage_order: 1"),
    ("y = AveragePool(image) {kernel_shape: [2 2]}", "strides: [1 1]", "strides: [2 2]"),
    ("y = AveragePool(image) {kernel_shape: [2 2], strides: [2 2]}", "ceil_mode: 0", "ceil_mode: 1"),
    (
        "y = AveragePool(image) {kernel_shape: [2 2], pads: [1 1 1 1]}",
        "count_include_pad: 0",
        "count_include_pad: 1",
    ),
    ("y = QuantizeLinear(square, scales)", "axis: 1", "axis: 0"),
    ("y = DequantizeLinear(codes, scales)", "axis: 1", "axis: 0"),
];

const IMAGES: [Row; 23] = [
    ("y = GridSample(image, grid)", "mode: linear", "mode: nearest"),
    ("y = GridSample(image, grid)", "padding_mode: zeros", "padding_mode: border"),
    ("y = GridSample(image, grid)", "align_corners: 0", "align_corners: 1"),
    ("y = AffineGrid(theta, sizes4)", "align_corners: 0", "align_corners: 1"),
    ("y = NonMaxSuppression(boxes, box_scores, six)", "center_point_box: 0", "center_point_box: 1"),
    ("y = LpPool(image) {kernel_shape: [2 2]}", "p: 2", "p: 1"),
    ("y = LpPool(image) {kernel_shape: [2 2]}", "strides: [1 1]", "strides: [2 2]"),
    ("y = LpPool(image) {kernel_shape: [2 2]}", "dilations: [1 1]", "dilations: [2 2]"),
    ("y = LpPool(image) {kernel_shape: [2 2]}", "pads: [0 0 0 0]", "pads: [1 0 0 1]"),
    ("y = LpPool(image) {kernel_shape: [2 2], strides: [2 2]}", "ceil_mode: 0", "ceil_mode: 1"),
    ("y = GlobalLpPool(image)", "p: 2", "p: 1"),
    ("y = RoiAlign(image, rois, first)", "mode: avg", "mode: max"),
    ("y = RoiAlign(image, rois, first)", "output_height: 1", "output_height: 2"),
    ("y = RoiAlign(image, rois, first)", "output_width: 1", "output_width: 2"),
    ("y = RoiAlign(image, rois, first)", "sampling_ratio: 0", "sampling_ratio: 1"),
    ("y = RoiAlign(image, rois, first)", "spatial_scale: 1.0", "spatial_scale: 0.5"),
    (
        "y = RoiAlign(image, rois, first)",
        "coordinate_transformation_mode: half_pixel",
        "coordinate_transformation_mode: output_half_pixel",
    ),
    ("y = MaxRoiPool(image, regions) {pooled_shape: [2 2]}", "spatial_scale: 1.0", "spatial_scale: 0.5"),
    ("y = MaxUnpool(pooled, places) {kernel_shape: [2 2]}", "strides: [1 1]", "strides: [2 2]"),
    ("y = Shrink(x)", "bias: 0.0", "bias: 1.0"),
    ("y = Shrink(x)", "lambd: 0.5", "lambd: 0.1"),
    ("y = NegativeLogLikelihoodLoss(logits, picked)", "reduction: mean", "reduction: sum"),
    ("y, l = SoftmaxCrossEntropyLoss(logits, picked)", "reduction: mean", "reduction: none"),
];

const CONTRIB: [Row; 19] = [
    ("y = ms.Attention(x, merged) {num_heads: 2}", "unidirectional: 0", "unidirectional: 1"),
    (
        "y = ms.Attention(x, merged, _, keep) {num_heads: 2}",
        "mask_filter_value: -10000.0",
        "mask_filter_value: -1.0",
    ),
    (
        "y = ms.GroupQueryAttention(x, x, x, _, _, last, total) {num_heads: 2, kv_num_heads: 2}",
        "causal: 1",
        "causal: 0",
    ),
    (
        "y = ms.GroupQueryAttention(x, x, x, _, _, last, total) {num_heads: 2, kv_num_heads: 2}",
        "smooth_softmax: -1",
        "smooth_softmax: 1",
    ),
    (
        "y = ms.GroupQueryAttention(x, x, x, _, _, last, total) {num_heads: 2, kv_num_heads: 2}",
        "local_window_size: -1",
        "local_window_size: 1",
    ),
    (
        "y = ms.FusedGemm(square, square, b6) {activation: Elu}",
        "activation_alpha: 1.0",
        "activation_alpha: 0.5",
    ),
    ("y = ms.FusedGemm(square, square, b6) {activation: Relu}", "beta: 1.0", "beta: 2.0"),
    (
        "y = ms.GroupNorm(dim, g4, b4) {groups: 2, activation: 0, channels_last: 0}",
        "epsilon: 0.00001",
        "epsilon: 0.001",
    ),
    ("y = ms.GroupNorm(four, g4, b4) {groups: 2, activation: 0}", "channels_last: 1", "channels_last: 0"),
    ("y = ms.Trilu(square)", "upper: 1", "upper: 0"),
    ("y = ms.UnfoldTensor(square) {size: 2}", "step: 1", "step: 2"),
    ("y = ms.UnfoldTensor(square) {size: 2}", "dim: -1", "dim: 0"),
    ("y = ms.SwiGLU(x)", "activation_alpha: 1.0", "activation_alpha: 1.702"),
    ("y = ms.SwiGLU(x)", "activation_beta: 0.0", "activation_beta: 1.0"),
    ("y = ms.SwiGLU(x)", "limit: 0.0", "limit: 0.25"),
    ("y = ms.Rfft(deep)", "signal_ndim: 1", "signal_ndim: 2"),
    ("y = ms.QLinearLeakyRelu(codes, step, _, step)", "alpha: 0.01", "alpha: 0.5"),
    ("y = ms.QLinearSoftmax(codes, step, _, step, nothing) {opset: 13}", "axis: -1", "axis: 0"),
    ("y = ms.CDist(square, square)", "metric: sqeuclidean", "metric: euclidean"),
];

const RESIZES: [Row; 8] = [
    ("y = Resize(image, _, scales4)", "mode: nearest", "mode: linear"),
    (
        "y = Resize(image, _, scales4)",
        "coordinate_transformation_mode: half_pixel",
        "coordinate_transformation_mode: asymmetric",
    ),
    (
        "y = Resize(image, _, scales4) {mode: linear}",
        "coordinate_transformation_mode: half_pixel",
        "coordinate_transformation_mode: align_corners",
    ),
    (
        "y = Resize(image, _, doubled) {coordinate_transformation_mode: asymmetric}",
        "nearest_mode: round_prefer_floor",
        "nearest_mode: round_prefer_ceil",
    ),
    ("y = Resize(image, _, scales4) {mode: cubic}", "cubic_coeff_a: -0.75", "cubic_coeff_a: -0.5"),
    ("y = Resize(image, _, scales4) {mode: cubic}", "exclude_outside: 0", "exclude_outside: 1"),
    ("y = Resize(image, _, halved) {mode: linear}", "antialias: 0", "antialias: 1"),
    (
        "y = Resize(image, _, _, sizes4)",
        "keep_aspect_ratio_policy: stretch",
        "keep_aspect_ratio_policy: not_larger",
    ),
];

const MADE: [Row; 16] = [
    ("y = DFT(signal)", "inverse: 0", "inverse: 1"),
    ("y = DFT(signal)", "onesided: 0", "onesided: 1"),
    ("y = STFT(signal, two, _, frame)", "onesided: 1", "onesided: 0"),
    ("y = HannWindow(six)", "periodic: 1", "periodic: 0"),
    ("y = HammingWindow(six)", "periodic: 1", "periodic: 0"),
    ("y = BlackmanWindow(six)", "periodic: 1", "periodic: 0"),
    ("y = HannWindow(six)", "output_datatype: 1", "output_datatype: 11"),
    ("y = RandomUniform() {shape: [3], seed: 1.0}", "low: 0.0", "low: -1.0"),
    ("y = RandomUniform() {shape: [3], seed: 1.0}", "high: 1.0", "high: 2.0"),
    ("y = RandomUniform() {shape: [3], seed: 1.0}", "dtype: 1", "dtype: 11"),
    ("y = RandomNormal() {shape: [3], seed: 1.0}", "mean: 0.0", "mean: 1.0"),
    ("y = RandomNormal() {shape: [3], seed: 1.0}", "scale: 1.0", "scale: 2.0"),
    ("y = RandomUniformLike(square) {seed: 1.0}", "dtype: 1", "dtype: 11"),
    ("y = Bernoulli(square) {seed: 1.0}", "dtype: 1", "dtype: 7"),
    ("y = Multinomial(square) {seed: 1.0}", "sample_size: 1", "sample_size: 2"),
    ("y = Multinomial(square) {seed: 1.0}", "dtype: 6", "dtype: 7"),
];

/// Of other versions: the node by itself is what it is with the attribute stated.
const OTHERS: [(i64, &str, &str, &str); 13] = [
    // All axes from the second on are one.
    (12, "y = Softmax(x)", "axis: 1", "axis: 2"),
    (12, "y = LogSoftmax(x)", "axis: 1", "axis: 2"),
    (12, "y = Hardmax(ties)", "axis: 1", "axis: 0"),
    (5, "y = Selu(x)", "alpha: 1.6732, gamma: 1.0507", "alpha: 1.67326319217681884765625, gamma: 1.0507"),
    (8, "y = BatchNormalization(dim, g4, b4, b4, small4)", "epsilon: 0.00001", "epsilon: 0.001"),
    (20, "y = GroupNormalization(dim, g2, b2) {num_groups: 2}", "epsilon: 0.00001", "epsilon: 0.001"),
    (17, "y = DFT(signal)", "axis: 1", "axis: 0"),
    (25, "y = Attention(heads, heads, heads)", "left_window_size: -1", "left_window_size: 0"),
    (25, "y = Attention(heads, heads, heads)", "right_window_size: -1", "right_window_size: 0"),
    (28, "y = SpaceToDepth(deep) {blocksize: 2}", "mode: DCR", "mode: CRD"),
    (28, "y = SwiGLU(x, wide)", "alpha: 1.0", "alpha: 1.702"),
    (26, "y = CumProd(x, one)", "exclusive: 0", "exclusive: 1"),
    (26, "y = CumProd(x, one)", "reverse: 0", "reverse: 1"),
];

/// The version that the tables above are of.
const NEWEST: i64 = 24;

#[test]
fn of_norms() {
    all_matter(&NORMS);
}

#[test]
fn of_activations() {
    all_matter(&ACTIVATIONS);
}

#[test]
fn of_products_and_recurrent_layers() {
    all_matter(&PRODUCTS);
}

#[test]
fn of_what_moves_and_chooses() {
    all_matter(&PLACES);
}

#[test]
fn of_images_and_losses() {
    all_matter(&IMAGES);
}

#[test]
fn of_regions_whose_pixels_had_no_halves() {
    let at = |version, attribute| result(version, "y = RoiAlign(image, rois, first)", attribute).unwrap();
    let (early, stated) = (at(15, ""), at(16, "coordinate_transformation_mode: output_half_pixel"));
    assert_eq!(early, stated);
    assert_ne!(early, at(16, ""));
}

#[test]
fn of_onnxruntimes_own() {
    all_matter(&CONTRIB);
}

#[test]
fn of_resizes() {
    all_matter(&RESIZES);
}

#[test]
fn of_what_is_made_of_a_seed_or_a_size() {
    all_matter(&MADE);
}

#[test]
fn of_other_versions() {
    let wrong: Vec<String> =
        OTHERS.iter().filter_map(|(version, a, b, c)| matters(*version, &(a, b, c)).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_constants_zeros_of_f32() {
    let shape = [("shape", Tensor::vector(vec![2i64]))];
    let y = run(&[], &shape, "y = ConstantOfShape(shape)\n-> y").remove(0);
    assert_eq!((y.elem(), y.bytes().as_ref()), (trine_ir::Elem::F32, &[0u8; 8][..]));
}

fn all_matter(rows: &[Row]) {
    let wrong: Vec<String> = rows.iter().filter_map(|row| matters(NEWEST, row).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn matters(version: i64, (node, default, other): &Row) -> Result<(), String> {
    let absent = result(version, node, "")?;
    if absent != result(version, node, default)? {
        return Err(format!("{node}, opset {version}: the default is not {default}"));
    }
    if absent == result(version, node, other)? {
        return Err(format!("{node}, opset {version}: {other} changes nothing"));
    }
    Ok(())
}

/// What a node gives with one more attribute.
fn result(version: i64, node: &str, attribute: &str) -> Result<Vec<Tensor>, String> {
    let (inputs, constants) = operands();
    let mut model = proto(&inputs, &constants, &lines(node, attribute));
    model.opset_import[0].version = Some(version);
    let fail = |e: &dyn std::fmt::Display| format!("{node} {{{attribute}}}, opset {version}: {e}");
    let module = trine::import::import_bytes(model.encode_to_vec().into(), None).map_err(|e| fail(&e))?;
    eval::run(&module, inputs.into_iter().map(|(_, t)| t).collect()).map_err(|e| fail(&e))
}

/// The node with one more attribute, and its results as the model's.
fn lines(node: &str, attribute: &str) -> String {
    let (results, _) = node.split_once(" = ").unwrap();
    let results: Vec<&str> = results.split(", ").filter(|r| *r != "_").collect();
    let node = match node.strip_suffix('}') {
        Some(open) if !attribute.is_empty() => format!("{open}, {attribute}}}"),
        Some(_) => node.to_string(),
        None => format!("{node} {{{attribute}}}"),
    };
    format!("{node}\n-> {}", results.join(", "))
}

/// All that nodes read, by name: what is given at run time, and constants.
fn operands() -> (Vec<Named<'static>>, Vec<Named<'static>>) {
    let scaled = |dims: &[usize], seed, by: f32| {
        let values = noise(dims, seed).values::<f32>().unwrap().iter().map(|v| v * by).collect();
        Tensor::from_vec::<f32>(dims.to_vec(), values).unwrap()
    };
    let above_zero = |n: usize, by: f32| Tensor::vector((1..=n).map(|i| i as f32 * by).collect::<Vec<f32>>());
    let ints = |dims: &[usize], values: &[i64]| Tensor::from_vec(dims.to_vec(), values.to_vec()).unwrap();
    let floats = |dims: &[usize], values: &[f32]| Tensor::from_vec(dims.to_vec(), values.to_vec()).unwrap();
    let codes: Vec<i8> = (0..36).map(|i| i * 3 - 54).collect();
    let infinite = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0];
    let inputs = vec![
        ("x", noise(&[2, 4, 6], 1)),
        ("wide", scaled(&[2, 4, 6], 2, 3.0)),
        ("milli", scaled(&[2, 4, 6], 3, 1e-3)),
        ("micro", scaled(&[2, 4, 6], 4, 1e-6)),
        ("image", noise(&[2, 4, 5, 5], 5)),
        ("dim", scaled(&[2, 4, 5, 5], 6, 1e-3)),
        ("square", noise(&[6, 6], 7)),
        ("heads", noise(&[1, 2, 3, 4], 8)),
        ("ties", floats(&[3, 3], &[1.0, 2.0, 2.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0])),
        ("left", ints(&[4], &[-7, 7, -7, 7])),
        ("right", ints(&[4], &[3, 3, -3, -3])),
        ("infinite", floats(&[4], &infinite)),
        ("codes", Tensor::from_vec(vec![6, 6], codes).unwrap()),
        ("deep", noise(&[1, 8, 2, 2], 9)),
        ("four", scaled(&[2, 4, 4, 4], 26, 1e-3)),
        ("picked", ints(&[3], &[0, 3, 1])),
        ("chosen", ints(&[2, 6], &[0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0])),
        ("pairs", ints(&[2, 1], &[1, 0])),
        ("updates", noise(&[2, 6], 10)),
        ("signal", noise(&[2, 6, 1], 26)),
        ("grid", scaled(&[2, 2, 3, 2], 26, 1.5)),
        ("theta", noise(&[2, 2, 3], 27)),
        ("boxes", floats(&[1, 3, 4], &[0.0, 0.0, 2.0, 2.0, 1.0, 1.0, 3.0, 3.0, 5.0, 5.0, 1.0, 1.0])),
        ("box_scores", floats(&[1, 1, 3], &[0.9, 0.8, 0.7])),
        ("rois", floats(&[2, 4], &[0.0, 0.0, 3.0, 3.0, 1.0, 1.0, 4.0, 2.5])),
        ("first", ints(&[2], &[0, 1])),
        ("regions", floats(&[1, 5], &[1.0, 0.0, 0.0, 3.0, 3.0])),
        ("pooled", noise(&[1, 1, 2, 2], 28)),
        ("places", ints(&[1, 1, 2, 2], &[0, 2, 5, 7])),
        ("ends", ints(&[6], &[1, 2, 3, 4, 5, 6])),
        ("logits", noise(&[3, 4], 29)),
    ];
    let constants = vec![
        ("g6", noise(&[6], 11)),
        ("b6", noise(&[6], 12)),
        ("b6_row", noise(&[1, 6], 13)),
        ("row", ints(&[1, 1], &[2])),
        ("g4", noise(&[4], 14)),
        ("b4", noise(&[4], 15)),
        ("g2", noise(&[2], 16)),
        ("b2", noise(&[2], 17)),
        ("small4", above_zero(4, 1e-5)),
        ("ids", Tensor::from_vec(vec![1, 3], vec![2i32, 0, 1]).unwrap()),
        ("table", scaled(&[3, 6], 18, 1e-6)),
        ("w", noise(&[4, 4, 2, 2], 19)),
        ("keep", Tensor::from_vec(vec![2, 4], vec![1i32, 1, 0, 1, 0, 1, 1, 1]).unwrap()),
        ("cos", noise(&[1, 3, 2], 20)),
        ("sin", noise(&[1, 3, 2], 21)),
        ("w_lstm", noise(&[1, 8, 6], 22)),
        ("r_lstm", noise(&[1, 8, 2], 23)),
        ("w_gru", noise(&[1, 6, 6], 24)),
        ("r_gru", noise(&[1, 6, 2], 25)),
        ("merged", noise(&[6, 12], 27)),
        ("last", Tensor::vector(vec![3i32; 2])),
        ("total", Tensor::scalar(4i32)),
        ("step", Tensor::scalar(0.03125f32)),
        ("nothing", Tensor::scalar(-60i8)),
        ("one", Tensor::scalar(1i64)),
        ("two", Tensor::vector(vec![2i64])),
        ("frame", Tensor::scalar(4i64)),
        ("six", Tensor::scalar(6i64)),
        ("off_on", floats(&[2], &[0.0, 1.0])),
        ("pads", Tensor::vector(vec![0i64, 1, 1, 0, 0, 2])),
        ("scales", above_zero(6, 0.05)),
        ("scales4", floats(&[4], &[1.0, 1.0, 1.6, 1.6])),
        ("doubled", floats(&[4], &[1.0, 1.0, 2.0, 2.0])),
        ("halved", floats(&[4], &[1.0, 1.0, 0.6, 0.6])),
        ("sizes4", ints(&[4], &[2, 4, 10, 7])),
    ];
    (inputs, constants)
}
