//! Each number here is one that a plausible mistake changes: another rounding, clip, scale, order, boundary or sign.

use super::*;
use crate::ops::testing::{one, run, tensor};

fn trits(dims: &[usize], values: &[i8]) -> Tensor {
    Tensor::pack(Elem::Trit, dims.to_vec(), bytemuck::cast_slice(values)).expect("values fit the dims")
}

fn quantized(dims: &[usize], x: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let results = run(QuantizeRows { floor: None, reciprocal: Flag(false) }, &[Some(&tensor(dims, x))])
        .expect("rows of f32");
    (results[0].values::<i8>().unwrap().to_vec(), results[1].values::<f32>().unwrap().to_vec())
}

fn floats(t: &Tensor) -> Vec<f32> {
    t.values::<f32>().expect("f32").to_vec()
}

/// With 127 for the largest the factor is 1. Half away from zero would give 1, 3, -1, -3; towards zero 1 for 1.75.
#[test]
fn rows_round_half_to_even() {
    let (q, s) = quantized(&[1, 9], &[127.0, 0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 1.75]);
    assert_eq!((q, s), (vec![127, 0, 2, 2, 4, 0, -2, -2, 2], vec![1.0]));
}

/// Not divided by the scale, nor multiplied by 127 first: these elements lie where only one rounding of the three is right.
#[test]
fn rows_are_multiplied_by_the_rounded_factor() {
    let (q, s) = quantized(&[1, 4], &[1.0625, 0.029281495, 0.046013777, -0.17150591]);
    assert_eq!((q, s), (vec![127, 3, 5, -20], vec![1.0625 / 127.0]));
    // Nor is the scale one over the factor, which ends in other bits.
    let (_, s) = quantized(&[1, 1], &[1.375]);
    assert_eq!(s[0].to_bits(), 0.010826772f32.to_bits());
    assert_ne!(s[0], 1.0 / (127.0 / 1.375));
}

/// The largest magnitude counts, not the largest element, of the row alone; a row is of the last axis.
#[test]
fn every_row_has_its_own_scale() {
    let (q, s) = quantized(&[2, 1, 2], &[-4.0, 2.0, 254.0, -2.0]);
    assert_eq!((q, s), (vec![-127, 64, 127, -1], vec![4.0 / 127.0, 2.0]));
    let (q, s) = quantized(&[3, 1], &[3.0, 0.0, -5.0]);
    assert_eq!((q, s), (vec![127, 0, -127], vec![3.0 / 127.0, 0.0, 5.0 / 127.0]));
}

#[test]
fn rows_of_zeros_nans_infinities_and_denormals() {
    let (inf, nan, least) = (f32::INFINITY, f32::NAN, f32::from_bits(1));
    for (row, q, s) in [
        ([0.0, -0.0, 0.0], [0, 0, 0], 0.0),
        // The scale of a row with NaN is NaN, so that the row stays none.
        ([nan, 2.0, -1.0], [0, 0, 0], nan),
        ([2.0, -1.0, nan], [0, 0, 0], nan),
        ([nan, nan, nan], [0, 0, 0], nan),
        // Anything over infinity is 0, and infinity over itself no number.
        ([inf, -3.0, 0.0], [0, 0, 0], inf),
        // The factor overflows, and what it multiplies saturates at 127, not at -128.
        ([least, -least, 0.0], [127, -127, 0], 0.0),
    ] {
        let (got, scales) = quantized(&[1, 3], &row);
        let same = scales.len() == 1 && (scales[0] == s || scales[0].is_nan() && s.is_nan());
        assert!(got == q && same, "{row:?}: {got:?} {scales:?}");
    }
    let (q, s) = quantized(&[2, 0], &[]);
    assert_eq!((q, s), (vec![], vec![0.0, 0.0]));
}

/// An odd number of inputs: the second row of weights begins within a byte.
#[test]
fn signs_select_by_rows_of_weights() {
    let w = trits(&[2, 3], &[1, -1, 0, 0, -1, 1]);
    let x = tensor(&[2, 3], &[2i8, 3, 5, -127, 127, -128]);
    let y = one(SignSelect {}, &[&x, &w]);
    assert_eq!(y.dims(), [2, 2, 3]);
    assert_eq!(&*y.values::<i8>().unwrap(), [2, -3, 0, 0, -3, 5, -127, -127, 0, 0, -127, -128]);
    let x = tensor(&[3], &[-0.0f32, f32::INFINITY, 1.5]);
    let y = floats(&one(SignSelect {}, &[&x, &w]));
    assert_eq!(y.iter().map(|v| v.to_bits() >> 31).collect::<Vec<_>>()[..3], [1, 1, 0]);
    assert_eq!((y[1], y[2], y[4], y[5]), (f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 1.5));
    // A weight of 0 multiplies, as in a matmul.
    let y = floats(&one(SignSelect {}, &[&tensor(&[3], &[f32::NAN, 1.0, f32::INFINITY]), &w]));
    assert!(y[0].is_nan() && y[2].is_nan() && y[3].is_nan() && y[5] == f32::INFINITY);
}

#[test]
fn groups_start_at_the_row_and_the_last_is_short() {
    let x = tensor(&[2, 5], &[1i8, 10, 100, 2, 20, -1, -10, -100, -2, -20]);
    for (group, sums) in [
        (2, vec![11, 102, 20, -11, -102, -20]),
        (3, vec![111, 22, -111, -22]),
        (5, vec![133, -133]),
        (9, vec![133, -133]),
    ] {
        let y = one(GroupSum { group }, &[&x]);
        assert_eq!(y.dims(), [2, sums.len() / 2]);
        assert_eq!(*y.values::<i32>().unwrap(), sums, "{group}");
    }
}

/// Neither 8 nor 16 bits would hold the sums.
#[test]
fn integers_are_summed_in_32_bits() {
    let y = one(GroupSum { group: 400 }, &[&tensor(&[400], &[-128i8; 400])]);
    assert_eq!(&*y.values::<i32>().unwrap(), [-51_200]);
    let y = one(GroupSum { group: 400 }, &[&tensor(&[400], &[16_384i16; 400])]);
    assert_eq!(&*y.values::<i32>().unwrap(), [6_553_600]);
}

/// At 1e8 the next number of f32 is 8 away, so that the order shows.
#[test]
fn floats_are_summed_by_triples_from_the_start_of_the_group() {
    let sum = |group: usize, x: &[f32]| floats(&one(GroupSum { group }, &[&tensor(&[x.len()], x)]));
    // `(x0 + x1) + x2`, not `x0 + (x1 + x2)`.
    assert_eq!(sum(3, &[1.0, 1e8, -1e8]), [0.0]);
    assert_eq!(sum(3, &[1e8, -1e8, 1.0]), [1.0]);
    // A triple is summed before it is added: one by one each 3 would be lost.
    assert_eq!(sum(6, &[1e8, 0.0, 0.0, 3.0, 3.0, 3.0]), [100_000_008.0]);
    // Triples, not pairs nor fours.
    assert_eq!(sum(6, &[1e8, 0.0, 3.0, 3.0, 0.0, 0.0]), [1e8]);
    assert_eq!(sum(6, &[0.0, 0.0, 1e8, 3.0, 3.0, 0.0]), [100_000_008.0]);
    // They begin with each group: from the row's start, 1 and -1e8 would be in one.
    assert_eq!(sum(4, &[0.0, 0.0, 0.0, 1e8, 1.0, -1e8, 1e8, 0.0]), [1e8, 0.0]);
    // Of the accumulator, the first triple comes first.
    assert_eq!(sum(9, &[1e8, 0.0, 0.0, -1e8, 0.0, 0.0, 1.0, 0.0, 0.0]), [1.0]);
    assert_eq!(sum(3, &[-0.0, -0.0, -0.0])[0].to_bits(), 0);
}

#[test]
fn sums_are_scaled_by_output_and_group_then_by_row_then_biased() {
    let t = tensor(&[2, 2, 3], &[1i32, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6]);
    let scale = tensor(&[2, 3], &[1f32, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0]);
    assert_eq!(floats(&one(Rescale {}, &[&t, &scale])), [321.0, 654_000.0, -321.0, -654_000.0]);
    let (s, bias) = (tensor(&[2, 1], &[2f32, 0.5]), tensor(&[2], &[0.25f32, 7.0]));
    let y = one(Rescale {}, &[&t, &scale, &s]);
    assert_eq!((y.dims(), floats(&y)), (&[2, 2][..], vec![642.0, 1_308_000.0, -160.5, -327_000.0]));
    // The bias is not scaled, and goes by output.
    let y = floats(&one(Rescale {}, &[&t, &scale, &s, &bias]));
    assert_eq!(y, [642.25, 1_308_007.0, -160.25, -326_993.0]);
    let y = run(Rescale {}, &[Some(&t), Some(&scale), None, Some(&bias)]).unwrap();
    assert_eq!(floats(&y[0]), [321.25, 654_007.0, -320.75, -653_993.0]);
}

/// Each operation is rounded by itself, in one order: scale, sum, row, bias.
#[test]
fn rescaling_rounds_after_every_step() {
    // 2^24 + 1 is not an f32: an integer is rounded before it is scaled.
    let y = one(Rescale {}, &[&tensor(&[1, 1], &[16_777_217i32]), &tensor(&[1, 1], &[3f32])]);
    assert_eq!(floats(&y), [16_777_216.0 * 3.0]);
    let (t, c, s, b) = (0.1f32, 0.3f32, 0.7f32, -0.021f32);
    let args = [tensor(&[1, 1, 1], &[t]), tensor(&[1, 1], &[c]), tensor(&[1, 1], &[s]), tensor(&[1], &[b])];
    let y = floats(&one(Rescale {}, &args.each_ref()))[0];
    assert_eq!(y.to_bits(), ((t * c) * s + b).to_bits());
    assert_ne!(y, t * (c * s) + b);
    assert_ne!(y, (t * c).mul_add(s, b), "the last multiplication is not fused with the addition");
    // Groups from the left: the last two alone would cancel.
    let sums = tensor(&[1, 3], &[1f32, 1e8, -1e8]);
    assert_eq!(floats(&one(Rescale {}, &[&sums, &tensor(&[1, 3], &[1f32; 3])])), [0.0]);
}

/// Five inputs in groups of two, two outputs: the last group is short, and no two scales are alike.
#[test]
fn a_layer_of_floats() {
    let w = trits(&[2, 5], &[1, -1, 0, 1, -1, 0, 1, 1, 0, 1]);
    let scale = tensor(&[2, 3], &[1f32, 10.0, 100.0, 0.5, 5.0, 50.0]);
    let x = tensor(&[2, 5], &[1f32, 2.0, 4.0, 8.0, 16.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    let op =
        TernaryMatmul { group: 2, int8: false, floor: None, reciprocal: Flag(false), blocks: Flag(false) };
    let y = one(op.clone(), &[&x, &w, &scale]);
    assert_eq!(
        (y.dims(), floats(&y)),
        (&[2, 2][..], vec![-1.0 + 80.0 - 1600.0, 1.0 + 20.0 + 800.0, -1.0, 0.5])
    );
    let bias = tensor(&[2], &[0.25f32, 0.5]);
    assert_eq!(floats(&one(op.clone(), &[&x, &w, &scale, &bias])), [-1520.75, 821.5, -0.75, 1.0]);
    // Of NaN and infinities, as in a matmul: a weight of 0 does not hide them.
    let x = tensor(&[1, 5], &[0f32, 0.0, f32::INFINITY, 0.0, 0.0]);
    let y = floats(&one(op, &[&x, &w, &scale]));
    assert!(y[0].is_nan() && y[1] == f32::INFINITY, "{y:?}");
}

/// The sums of a layer are those of the lowered form: the same order, to the bit.
#[test]
fn a_layer_is_its_lowered_form() {
    let w = trits(&[3, 7], &[1, 1, -1, 1, -1, 1, 1, -1, 0, 1, 1, 1, -1, 1, 1, 1, 1, 1, -1, -1, 0]);
    let x = tensor(&[2, 7], &[1e8f32, 3.0, -0.1, 3.3, 1e8, 7.0, -2.5, 0.3, -0.7, 1.1, 0.01, 5e7, -5e7, 1e-3]);
    for group in [1, 2, 3, 4, 7] {
        let groups = groups(7, group);
        let scale = tensor(&[3, groups], &(0..3 * groups).map(|i| 0.1 + i as f32 / 7.0).collect::<Vec<_>>());
        let bias = tensor(&[3], &[0.1f32, -0.2, 0.3]);
        let sums = |x: &Tensor| one(GroupSum { group }, &[&one(SignSelect {}, &[x, &w])]);
        let whole = |int8| {
            one(
                TernaryMatmul { group, int8, floor: None, reciprocal: Flag(false), blocks: Flag(false) },
                &[&x, &w, &scale, &bias],
            )
        };
        let lowered = run(Rescale {}, &[Some(&sums(&x)), Some(&scale), None, Some(&bias)]).unwrap();
        assert!(whole(false) == lowered[0], "{group}");
        let rows = run(QuantizeRows { floor: None, reciprocal: Flag(false) }, &[Some(&x)]).unwrap();
        assert!(whole(true) == one(Rescale {}, &[&sums(&rows[0]), &scale, &rows[1], &bias]), "{group}");
    }
}

/// `[127, 0.5, -1.5, 2.5]` as int8 is `[127, 0, -2, 2]`, of scale 1; twice that has scale 2.
#[test]
fn a_layer_of_int8_rounds_rows_first() {
    let w = trits(&[1, 4], &[1, 1, 1, -1]);
    let (scale, bias) = (tensor(&[1, 2], &[0.5f32, 4.0]), tensor(&[1], &[0.25f32]));
    let x = tensor(&[2, 4], &[127f32, 0.5, -1.5, 2.5, 254.0, 1.0, -3.0, 5.0]);
    let y = floats(&one(
        TernaryMatmul { group: 2, int8: true, floor: None, reciprocal: Flag(false), blocks: Flag(false) },
        &[&x, &w, &scale, &bias],
    ));
    assert_eq!(y, [63.5 - 16.0 + 0.25, 2.0 * (63.5 - 16.0) + 0.25]);
}

/// 8 bits and 4, of an odd number of inputs: the second row of nibbles begins within a byte.
#[test]
fn products_with_integer_weights_are_exact() {
    let q = tensor(&[2, 3], &[-128i8, 127, 1, 2, 3, 4]);
    let bytes = tensor(&[2, 3], &[-128i8, 127, -1, 1, 2, 3]);
    let y = one(WeightProducts {}, &[&q, &bytes]);
    assert_eq!(y.dims(), [2, 2, 3]);
    let want = [16_384, 16_129, -1, -128, 254, 3, -256, 381, -4, 2, 6, 12];
    assert_eq!(&*y.values::<i16>().unwrap(), want);
    let codes: [i8; 6] = [-8, 7, -1, 1, -2, 3];
    let nibbles = Tensor::pack(Elem::I4, vec![2, 3], bytemuck::cast_slice(&codes)).unwrap();
    let y = one(WeightProducts {}, &[&q, &nibbles]);
    let want = [1024, 889, -1, -128, -254, 3, -16, 21, -4, 2, -6, 12];
    assert_eq!(&*y.values::<i16>().unwrap(), want);
}

#[test]
fn a_layer_of_integers_is_its_lowered_form() {
    let x = tensor(&[2, 5], &[127f32, 0.5, 1.5, -2.5, 100.0, -254.0, 1.0, 3.0, 5.0, 0.0]);
    let scale = tensor(&[2, 3], &[0.5f32, 0.25, 2.0, 1.0, -1.0, 4.0]);
    let bias = tensor(&[2], &[0.125f32, -0.5]);
    let codes: [i8; 10] = [-8, 7, 1, 2, -3, 3, -4, 5, 0, 7];
    for elem in [Elem::I8, Elem::I4] {
        let w = Tensor::pack(elem, vec![2, 5], bytemuck::cast_slice(&codes)).unwrap();
        let whole = one(Int8Matmul { group: 2, blocks: Flag(false) }, &[&x, &w, &scale, &bias]);
        let rows = run(QuantizeRows { floor: None, reciprocal: Flag(false) }, &[Some(&x)]).unwrap();
        let sums = one(GroupSum { group: 2 }, &[&one(WeightProducts {}, &[&rows[0], &w])]);
        assert!(whole == one(Rescale {}, &[&sums, &scale, &rows[1], &bias]), "{elem}");
        // Rows as integers: 127, 0, 2, -2, 100 of scale 1; -127, 0, 2, 2, 0 of scale 2.
        let first = 0.5 * -1016.0 + 0.25 * -2.0 + 2.0 * -300.0 + 0.125;
        assert_eq!(floats(&whole)[..2], [first, 381.0 - 10.0 + 2800.0 - 0.5]);
        assert_eq!(floats(&whole)[2], 2.0 * (0.5 * 1016.0 + 0.25 * 6.0) + 0.125);
        assert_eq!(floats(&whole)[3], 2.0 * (-381.0 - 10.0) - 0.5);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let (x, w) = (tensor(&[1, 4], &[1f32; 4]), trits(&[2, 4], &[1; 8]));
    let scales = |groups: usize| tensor(&[2, groups], &vec![1f32; 2 * groups]);
    let matmul = |x: &Tensor, scale: &Tensor, bias: Option<&Tensor>, group| {
        run(
            TernaryMatmul { group, int8: true, floor: None, reciprocal: Flag(false), blocks: Flag(false) },
            &[Some(x), Some(&w), Some(scale), bias],
        )
    };
    assert!(matmul(&x, &scales(2), None, 2).is_ok());
    assert!(matmul(&x, &scales(1), None, 2).is_err());
    assert!(matmul(&x, &scales(2), None, 0).is_err());
    assert!(matmul(&tensor(&[1, 3], &[1f32; 3]), &scales(2), None, 2).is_err());
    assert!(matmul(&x, &scales(2), Some(&tensor(&[4], &[1f32; 4])), 2).is_err());
    assert!(run(GroupSum { group: 0 }, &[Some(&tensor(&[4], &[1i8; 4]))]).is_err());
    assert!(run(GroupSum { group: 2 }, &[Some(&tensor(&[4], &[1i32; 4]))]).is_err());
    assert!(
        run(QuantizeRows { floor: None, reciprocal: Flag(false) }, &[Some(&Tensor::scalar(1f32))]).is_err()
    );
    assert!(run(SignSelect {}, &[Some(&tensor(&[4], &[1i16; 4])), Some(&w)]).is_err());
    let rows = tensor(&[2, 1], &[1f32; 2]);
    assert!(
        run(Rescale {}, &[Some(&tensor(&[1, 2, 2], &[1i32; 4])), Some(&scales(2)), Some(&rows)]).is_err()
    );
}
