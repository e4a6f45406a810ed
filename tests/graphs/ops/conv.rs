//! Convolution, pooling, resizing and norms of images and signals.

use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::{float, int, ints, text};

/// A value `[n,c,spatial…]` with a constant number of channels.
pub fn image(b: &mut Builder, least: usize) -> Option<(Val, usize)> {
    let spatial = |v: &Val| v.dims[2..].iter().all(|d| d.least() >= least && d.known());
    let fit = |v: &Val| {
        v.elem == F32
            && (3..6).contains(&v.rank())
            && v.dims[1].constant().is_some_and(|c| (1..9).contains(&c))
            && spatial(v)
    };
    let x = match b.find(fit) {
        Some(x) if b.choices.chance(60) => x,
        _ => {
            let n = b.choices.pick(&[1, 2, 2, 1]);
            let n = if b.choices.chance(30) { b.size() } else { Size::fixed(n) };
            let c = b.choices.pick(&[1, 2, 3, 4, 4, 8]);
            let mut dims = vec![n, Size::fixed(c)];
            for _ in 0..b.choices.pick(&[1, 2, 2, 2, 3]) {
                let d = b.size();
                let d = if d.least() >= least { d } else { Size::fixed(b.choices.pick(&[4, 5, 6, 7])) };
                dims.push(d);
            }
            if !crate::graphs::build::fits(&dims) {
                return None;
            }
            b.leaf(F32, &dims)
        }
    };
    let c = x.dims[1].constant()?;
    Some((x, c))
}

/// Windows: attributes, and the size of each spatial axis.
pub struct Window {
    pub attributes: Vec<trine::import::proto::AttributeProto>,
    kernel: Vec<usize>,
    pub sizes: Vec<Size>,
}

pub fn window(b: &mut Builder, x: &Val, pool: bool) -> Option<Window> {
    let spatial = &x.dims[2..];
    let n = spatial.len();
    let kernel: Vec<usize> = (0..n).map(|_| b.choices.pick(&[1, 2, 3, 3])).collect();
    let strides: Vec<usize> = (0..n).map(|_| b.choices.pick(&[1, 1, 2, 3])).collect();
    let dilated = b.choices.chance(15) && (!pool || b.opset >= 10);
    let dilations: Vec<usize> = (0..n).map(|_| if dilated { b.choices.pick(&[1, 2]) } else { 1 }).collect();
    let all = |v: &[usize]| v.iter().map(|n| *n as i64).collect::<Vec<_>>();
    let mut attributes = vec![ints("strides", &all(&strides))];
    if dilated {
        attributes.push(ints("dilations", &all(&dilations)));
    }
    if pool || b.choices.chance(50) {
        attributes.push(ints("kernel_shape", &all(&kernel)));
    }
    let auto = b.choices.pick(&["", "", "", "SAME_UPPER", "SAME_LOWER", "VALID"]);
    let ceil = pool && b.opset >= 10 && auto.is_empty() && b.choices.chance(25);
    let mut pads = vec![0; 2 * n];
    if auto.is_empty() {
        for i in 0..n {
            let most = kernel[i] as i64 - 1;
            pads[i] = b.choices.between(0, most.min(1));
            pads[n + i] = b.choices.between(0, most.min(1));
        }
        attributes.push(ints("pads", &pads));
    } else {
        attributes.push(text("auto_pad", auto));
    }
    if ceil {
        attributes.push(int("ceil_mode", 1));
    }
    let mut sizes = vec![];
    for i in 0..n {
        let (reach, stride) = (dilations[i] * (kernel[i] - 1) + 1, strides[i]);
        let (before, behind) = (pads[i] as usize, pads[n + i] as usize);
        sizes.push(spatial[i].map(|size| {
            if auto.starts_with("SAME") {
                return Some(size.div_ceil(stride));
            }
            let span = (size + before + behind).checked_sub(reach)?;
            let count = if ceil { span.div_ceil(stride) } else { span / stride } + 1;
            // No window starts in the padding after.
            let inside = (count - 1) * stride < size + before;
            Some(if ceil && !inside { count - 1 } else { count })
        })?);
    }
    Some(Window { attributes, kernel, sizes })
}

pub fn conv(b: &mut Builder) -> Option<()> {
    let (x, c) = image(b, 3)?;
    let w = window(b, &x, false)?;
    let group = if c.is_multiple_of(2) && b.choices.chance(35) { b.choices.pick(&[2, c]) } else { 1 };
    let m = group * b.choices.pick(&[1, 2, 3]);
    let mut dims = vec![m, c / group];
    dims.extend(&w.kernel);
    let draw = b.choices.pick(&[Draw::Reals, Draw::Reals, Draw::Ternary(0.5), Draw::Whole(-2, 2)]);
    let weights = data::tensor(F32, &dims, draw, b.choices.seed());
    let weights = b.tensor(weights);
    let mut inputs = vec![x.name.clone(), weights];
    if b.choices.chance(50) {
        inputs.push(b.leaf(F32, &[Size::fixed(m)]).name);
    }
    let mut attributes = w.attributes;
    if group > 1 {
        attributes.push(int("group", group as i64));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let dims = [&[x.dims[0], Size::fixed(m)], &w.sizes[..]].concat();
    let y = b.emit1("Conv", &inputs, attributes, F32, dims)?;
    if b.choices.chance(40) {
        let op = b.choices.pick(&["Relu", "Sigmoid", "Tanh"]);
        b.emit1(op, &[&y.name], vec![], F32, y.dims)?;
    }
    Some(())
}

pub fn transposed(b: &mut Builder) -> Option<()> {
    let (x, c) = image(b, 1)?;
    let n = x.rank() - 2;
    let kernel: Vec<usize> = (0..n).map(|_| b.choices.pick(&[1, 2, 3])).collect();
    let strides: Vec<usize> = (0..n).map(|_| b.choices.pick(&[1, 2])).collect();
    let group = if c.is_multiple_of(2) && b.choices.chance(25) { 2 } else { 1 };
    let m = b.choices.pick(&[1, 2]);
    let pad = b.choices.below(2);
    let mut sizes = vec![];
    for i in 0..n {
        let pad = pad.min((kernel[i] - 1) / 2);
        sizes.push(
            x.dims[2 + i].map(|s| ((s.checked_sub(1)?) * strides[i] + kernel[i]).checked_sub(2 * pad))?,
        );
    }
    let pads: Vec<i64> = (0..2 * n).map(|i| pad.min((kernel[i % n] - 1) / 2) as i64).collect();
    let mut dims = vec![c, m];
    dims.extend(&kernel);
    let weights = data::tensor(F32, &dims, Draw::Reals, b.choices.seed());
    let weights = b.tensor(weights);
    let strides: Vec<i64> = strides.iter().map(|s| *s as i64).collect();
    let attributes = vec![ints("strides", &strides), ints("pads", &pads), int("group", group as i64)];
    let dims = [&[x.dims[0], Size::fixed(m * group)], &sizes[..]].concat();
    b.emit1("ConvTranspose", &[&x.name, &weights], attributes, F32, dims)?;
    Some(())
}

pub fn pool(b: &mut Builder) -> Option<()> {
    let (x, _) = image(b, 3)?;
    let op = b.choices.pick(&[
        "MaxPool",
        "MaxPool",
        "AveragePool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
    ]);
    if op.starts_with("Global") {
        let ones = vec![Size::ONE; x.rank() - 2];
        let dims = [&x.dims[..2], &ones].concat();
        b.emit1(op, &[&x.name], vec![], F32, dims)?;
        return Some(());
    }
    let w = window(b, &x, true)?;
    let mut attributes = w.attributes;
    let dilated = attributes.iter().any(|a| a.name() == "dilations");
    if op == "AveragePool" && dilated && b.opset < 19 {
        return None;
    }
    if op == "AveragePool" && b.choices.chance(40) {
        attributes.push(int("count_include_pad", 1));
    }
    let dims = [&x.dims[..2], &w.sizes].concat();
    if op == "MaxPool" && b.choices.chance(20) {
        b.emit(op, &[&x.name], attributes, &[(F32, dims.clone()), (I64, dims)])?;
    } else {
        b.emit1(op, &[&x.name], attributes, F32, dims)?;
    }
    Some(())
}

pub fn resize(b: &mut Builder) -> Option<()> {
    if b.opset < 11 {
        return None;
    }
    let (x, _) = image(b, 2)?;
    let n = x.rank() - 2;
    let mode = b.choices.pick(&["nearest", "nearest", "linear", "cubic"]);
    let mode = if mode == "cubic" && n != 2 { "linear" } else { mode };
    let coordinates = b.choices.pick(&["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]);
    let mut attributes = vec![text("mode", mode), text("coordinate_transformation_mode", coordinates)];
    if mode == "nearest" {
        let modes = ["round_prefer_floor", "floor", "ceil", "round_prefer_ceil"];
        attributes.push(text("nearest_mode", b.choices.pick(&modes)));
    }
    let empty = b.tensor(data::of_values(F32, &[0], &[]));
    let roi = if b.opset < 13 { empty } else { String::new() };
    let mut dims = x.dims.clone();
    if b.choices.chance(60) {
        let mut scales = vec![1.0; 2];
        for i in 0..n {
            let by = b.choices.pick(&[2, 2, 1, 3]);
            scales.push(f64::from(by));
            dims[2 + i] = dims[2 + i].map(|s| Some(s * by as usize))?;
        }
        let scales = b.tensor(data::of_values(F32, &[2 + n], &scales));
        b.emit1("Resize", &[&x.name, &roi, &scales], attributes, F32, dims)?;
        return Some(());
    }
    let mut sizes = vec![];
    for (i, d) in dims.iter_mut().enumerate() {
        if i >= 2 {
            *d = Size::fixed(b.choices.pick(&[3, 4, 5, 8]));
        }
        sizes.push(d.constant()? as i64);
    }
    let (sizes, scales) = (b.ints(&sizes), if b.opset < 13 { roi.clone() } else { String::new() });
    b.emit1("Resize", &[&x.name, &roi, &scales, &sizes], attributes, F32, dims)?;
    Some(())
}

/// Norms over channels, groups of them, or across them.
pub fn norm(b: &mut Builder) -> Option<()> {
    let (x, c) = image(b, 1)?;
    let channels = [Size::fixed(c)];
    match b.choices.below(5) {
        0 => {
            let params = [Draw::Reals, Draw::Reals, Draw::Reals, Draw::Positive]
                .map(|d| b.drawn(F32, &channels, d).name);
            let mut inputs = vec![x.name.as_str()];
            inputs.extend(params.iter().map(String::as_str));
            let attributes = if b.choices.chance(50) { vec![float("epsilon", 0.01)] } else { vec![] };
            b.emit1("BatchNormalization", &inputs, attributes, F32, x.dims.clone())?;
        }
        1 => {
            let (gain, bias) = (b.leaf(F32, &channels), b.leaf(F32, &channels));
            b.emit1(
                "InstanceNormalization",
                &[&x.name, &gain.name, &bias.name],
                vec![],
                F32,
                x.dims.clone(),
            )?;
        }
        2 if b.opset >= 21 => {
            let groups = if c.is_multiple_of(2) { 2 } else { 1 };
            let (gain, bias) = (b.leaf(F32, &channels), b.leaf(F32, &channels));
            let attributes = vec![int("num_groups", groups)];
            b.emit1(
                "GroupNormalization",
                &[&x.name, &gain.name, &bias.name],
                attributes,
                F32,
                x.dims.clone(),
            )?;
        }
        3 => {
            let attributes =
                vec![int("size", b.choices.pick(&[1, 3, 5])), float("alpha", 0.1), float("bias", 1.5)];
            b.emit1("LRN", &[&x.name], attributes, F32, x.dims.clone())?;
        }
        _ if x.rank() == 4 => {
            b.emit1("MeanVarianceNormalization", &[&x.name], vec![], F32, x.dims.clone())?;
        }
        _ => return None,
    }
    Some(())
}
