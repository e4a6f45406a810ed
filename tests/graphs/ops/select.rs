//! Ops that choose, count and reorder by what elements are; and losses, which pick by labels.

use trine_ir::Elem;
use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, fits};
use crate::graphs::data::Draw;
use crate::graphs::proto::{float, floats, int, ints, text};

const ALL: &[Elem] = &[F32, F32, F32, F64, F16, I64, I32, U8, Bool];

pub fn compress(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..4);
    if b.choices.chance(40) {
        let all = Size::product(&x.dims)?;
        let condition = b.drawn(Bool, &[Size::fixed(all.least().min(3))], Draw::Whole(0, 1));
        let kept = b.unknown(Size::fixed(3));
        b.emit1("Compress", &[&x.name, &condition.name], vec![], x.elem, vec![kept])?;
        return Some(());
    }
    let axis = b.choices.below(x.rank());
    if !x.dims[axis].known() {
        return None;
    }
    let condition = b.drawn(Bool, &[x.dims[axis]], Draw::Whole(0, 1));
    let mut dims = x.dims.clone();
    dims[axis] = b.unknown(x.dims[axis]);
    let spelt = b.axis(axis, x.rank());
    b.emit1("Compress", &[&x.name, &condition.name], vec![int("axis", spelt)], x.elem, dims)?;
    Some(())
}

pub fn unique(b: &mut Builder) -> Option<()> {
    if b.opset < 11 {
        return None;
    }
    // onnxruntime has no others.
    let elems: &[Elem] = if b.tame { &[F32, F64, I64] } else { ALL };
    let x = b.operand(elems, 1..4);
    let all = Size::product(&x.dims)?;
    let mut attributes = vec![int("sorted", b.choices.below(2) as i64)];
    let (mut dims, mut count, mut whole) = (vec![], b.unknown(all), all);
    if b.choices.chance(40) {
        let axis = b.choices.below(x.rank());
        if x.dims.iter().any(|d| d.least() == 0) {
            return None;
        }
        (dims, whole, count) = (x.dims.clone(), x.dims[axis], b.unknown(x.dims[axis]));
        dims[axis] = count;
        let spelt = b.axis(axis, x.rank());
        attributes.push(int("axis", spelt));
    } else {
        dims.push(count);
    }
    let results = [(x.elem, dims), (I64, vec![count]), (I64, vec![whole]), (I64, vec![count])];
    let wanted = b.choices.pick(&[1, 2, 4]);
    b.emit("Unique", &[&x.name], attributes, &results[..wanted])?;
    Some(())
}

pub fn reversed(b: &mut Builder) -> Option<()> {
    if b.opset < 10 {
        return None;
    }
    let x = b.operand(ALL, 2..5);
    let batch = b.choices.below(2);
    let least = x.dims[1 - batch].least() as i64;
    if least == 0 || !x.dims[batch].known() {
        return None;
    }
    let lengths = b.drawn(I64, &[x.dims[batch]], Draw::Whole(1, least));
    let attributes = vec![int("batch_axis", batch as i64), int("time_axis", 1 - batch as i64)];
    b.emit1("ReverseSequence", &[&x.name, &lengths.name], attributes, x.elem, x.dims.clone())?;
    Some(())
}

pub fn eye(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32, I64, I32, F64], 2..3);
    let mut attributes = vec![int("k", b.choices.between(-2, 2))];
    let mut elem = x.elem;
    if b.choices.chance(50) {
        elem = b.choices.pick(&[F32, I64, F64]);
        attributes.push(int("dtype", i64::from(crate::graphs::proto::data_type(elem))));
    }
    b.emit1("EyeLike", &[&x.name], attributes, elem, x.dims.clone())?;
    Some(())
}

pub fn shrink(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32, F32, F64, F16, I32, I64, U8], 0..4);
    let attributes =
        vec![float("bias", b.choices.pick(&[0.0, 1.0])), float("lambd", b.choices.pick(&[0.5, 1.5]))];
    b.emit1("Shrink", &[&x.name], attributes, x.elem, x.dims.clone())?;
    Some(())
}

pub fn products(b: &mut Builder) -> Option<()> {
    if b.opset < 26 {
        return None;
    }
    let x = b.operand(&[F32, F32, F16, F64, I64, I32], 1..4);
    let axis = b.choices.below(x.rank());
    let spelt = b.axis(axis, x.rank());
    let axis = b.scalar(I64, spelt as f64);
    let attributes =
        vec![int("exclusive", b.choices.below(2) as i64), int("reverse", b.choices.below(2) as i64)];
    b.emit1("CumProd", &[&x.name, &axis], attributes, x.elem, x.dims.clone())?;
    Some(())
}

pub fn determinant(b: &mut Builder) -> Option<()> {
    if b.opset < 11 {
        return None;
    }
    let n = Size::fixed(b.choices.pick(&[1, 2, 3]));
    let lead = b.shape(0..3);
    let shape = [lead.as_slice(), &[n, n]].concat();
    if !fits(&shape) {
        return None;
    }
    let x = b.leaf(F32, &shape);
    b.emit1("Det", &[&x.name], vec![], F32, lead)?;
    Some(())
}

pub fn grams(b: &mut Builder) -> Option<()> {
    let mut shape = vec![b.size()];
    if b.choices.chance(50) {
        shape.insert(0, Size::fixed(2));
    }
    if !shape.iter().all(|d| d.least() > 0) {
        return None;
    }
    let elem = b.choices.pick(&[I64, I32]);
    let x = b.drawn(elem, &shape, Draw::Whole(0, 3));
    let mut attributes = vec![
        text("mode", b.choices.pick(&["TF", "IDF", "TFIDF"])),
        int("min_gram_length", b.choices.between(1, 2)),
        int("max_gram_length", 2),
        int("max_skip_count", b.choices.between(0, 3)),
        ints("ngram_counts", &[0, 3]),
        ints("ngram_indexes", &[0, 2, 1, 4, 3]),
        ints("pool_int64s", &[0, 1, 2, 0, 1, 2, 2]),
    ];
    if b.choices.chance(50) {
        attributes.push(floats("weights", &[1.0, 0.5, 2.0, 3.0, 1.5]));
    }
    let mut dims = shape;
    dims.pop();
    dims.push(Size::fixed(5));
    b.emit1("TfIdfVectorizer", &[&x.name], attributes, F32, dims)?;
    Some(())
}

/// Either loss, with weights and labels that are ignored now and then.
pub fn loss(b: &mut Builder) -> Option<()> {
    if b.opset < 12 {
        return None;
    }
    let classes = Size::fixed(b.choices.pick(&[2, 3, 5]));
    let mut shape = b.shape(1..4);
    shape.insert(1, classes);
    if !fits(&shape) || shape.iter().any(|d| d.least() == 0) {
        return None;
    }
    let x = b.leaf(F32, &shape);
    let mut samples = shape.clone();
    samples.remove(1);
    let elem = b.choices.pick(&[I64, I32]);
    let labels = b.drawn(elem, &samples, Draw::Whole(0, classes.most() as i64 - 1));
    let mut inputs = vec![x.name.clone(), labels.name];
    if b.choices.chance(50) {
        inputs.push(b.drawn(F32, &[classes], Draw::Positive).name);
    }
    let reduction = b.choices.pick(&["none", "sum", "mean"]);
    let mut attributes = vec![text("reduction", reduction)];
    if b.choices.chance(50) {
        attributes.push(int("ignore_index", b.choices.pick(&[0, 1, -100])));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let dims = if reduction == "none" { samples } else { vec![] };
    if b.choices.chance(50) {
        b.emit1("NegativeLogLikelihoodLoss", &inputs, attributes, F32, dims)?;
    } else if b.choices.chance(50) {
        b.emit1("SoftmaxCrossEntropyLoss", &inputs, attributes, F32, dims)?;
    } else {
        b.emit("SoftmaxCrossEntropyLoss", &inputs, attributes, &[(F32, dims), (F32, shape)])?;
    }
    Some(())
}
