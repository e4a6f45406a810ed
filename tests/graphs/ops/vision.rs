//! Samples, warps and regions of images, and what puts windows together again.

use trine_ir::Elem::*;

use super::conv::{image, window};
use crate::graphs::build::{Builder, Size, Val, fits};
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::{float, int, ints, text};

/// An image of so many spatial axes, whose sizes are known before a run.
fn picture(b: &mut Builder, least: usize, axes: usize) -> Option<(Val, usize)> {
    let (x, c) = image(b, least)?;
    (x.rank() == axes + 2 && x.dims[0].known() && x.dims[0].least() > 0).then_some((x, c))
}

pub fn grid_sample(b: &mut Builder) -> Option<()> {
    if b.opset < 16 {
        return None;
    }
    let axes = if b.tame || b.opset < 20 { b.choices.pick(&[2, 2, 3]) } else { b.choices.pick(&[1, 2, 3]) };
    let (x, _) = picture(b, 1, axes)?;
    let out: Vec<Size> = (0..axes).map(|_| b.size()).collect();
    let shape = [&[x.dims[0]], out.as_slice(), &[Size::fixed(axes)]].concat();
    if axes == 3 && b.opset < 20 || !fits(&shape) {
        return None;
    }
    let grid = b.drawn(F32, &shape, Draw::Reals);
    let modes =
        if b.opset < 20 { ["bilinear", "nearest", "bicubic"] } else { ["linear", "nearest", "cubic"] };
    // Of three axes onnxruntime has no cubic samples.
    let mode = b.choices.pick(if axes == 2 { &modes[..] } else { &modes[..2] });
    let padding = b.choices.pick(&["zeros", "border", "reflection"]);
    let attributes = vec![
        text("mode", mode),
        text("padding_mode", padding),
        int("align_corners", b.choices.below(2) as i64),
    ];
    let dims = [&x.dims[..2], &out].concat();
    b.emit1("GridSample", &[&x.name, &grid.name], attributes, F32, dims)?;
    Some(())
}

/// A grid of the shape of an image, and what is there.
pub fn affine(b: &mut Builder) -> Option<()> {
    if b.opset < 20 {
        return None;
    }
    let axes = b.choices.pick(&[2, 2, 3]);
    let (x, _) = picture(b, 2, axes)?;
    let theta = b.drawn(F32, &[x.dims[0], Size::fixed(axes), Size::fixed(axes + 1)], Draw::Reals);
    let size = b.emit1("Shape", &[&x.name], vec![], I64, vec![Size::fixed(axes + 2)])?;
    let attributes = vec![int("align_corners", b.choices.below(2) as i64)];
    let dims = [&[x.dims[0]], &x.dims[2..], &[Size::fixed(axes)]].concat();
    let grid = b.emit1("AffineGrid", &[&theta.name, &size.name], attributes, F32, dims)?;
    if b.choices.chance(50) {
        b.emit1("GridSample", &[&x.name, &grid.name], vec![], F32, x.dims.clone())?;
    }
    Some(())
}

/// Boxes that are kept, and their places among all.
pub fn suppression(b: &mut Builder) -> Option<()> {
    if b.opset < 10 {
        return None;
    }
    let (n, classes, count) = (b.size(), Size::fixed(b.choices.pick(&[1, 2])), b.size());
    let (corners, scores) = ([n, count, Size::fixed(4)], [n, classes, count]);
    if !fits(&corners) || !fits(&scores) {
        return None;
    }
    let corners = b.drawn(F32, &corners, Draw::Positive);
    let scores = b.drawn(F32, &scores, Draw::Positive);
    let (most, overlap) = (b.choices.pick(&[1.0, 3.0, 100.0]), b.choices.pick(&[0.0, 0.25, 0.5]));
    let (most, overlap) = (b.scalar(I64, most), b.scalar(F32, overlap));
    let mut inputs = vec![corners.name.as_str(), &scores.name, &most, &overlap];
    let least = b.scalar(F32, 1.5);
    if b.choices.chance(50) {
        inputs.push(&least);
    }
    let attributes = vec![int("center_point_box", b.choices.below(2) as i64)];
    let kept = b.unknown(Size::product(&[n, classes, count])?);
    let y = b.emit1("NonMaxSuppression", &inputs, attributes, I64, vec![kept, Size::fixed(3)])?;
    if b.choices.chance(50) {
        let one = b.ints(&[2]);
        b.emit1("Gather", &[&y.name, &one], vec![int("axis", 1)], I64, vec![kept, Size::ONE])?;
    }
    Some(())
}

pub fn regions(b: &mut Builder) -> Option<()> {
    let (x, _) = picture(b, 2, 2)?;
    let images = x.dims[0].least() as i64;
    let (h, w) = (b.choices.between(1, 3), b.choices.between(1, 3));
    let count = Size::fixed(b.choices.pick(&[1, 2, 3]));
    let dims = vec![count, x.dims[1], Size::fixed(h as usize), Size::fixed(w as usize)];
    let scale = float("spatial_scale", b.choices.pick(&[0.5, 1.0, 2.0]));
    if b.opset < 10 || b.choices.chance(40) {
        let mut rois = vec![];
        for _ in 0..count.most() {
            let whole = [b.choices.between(0, images - 1), b.choices.between(0, 2), b.choices.between(0, 2)];
            rois.extend(whole.map(|v| v as f64));
            rois.extend([b.choices.between(2, 6) as f64 / 2.0, b.choices.between(2, 6) as f64 / 2.0]);
        }
        let rois = b.tensor(data::of_values(F32, &[count.most(), 5], &rois));
        let attributes = vec![ints("pooled_shape", &[h, w]), scale];
        b.emit1("MaxRoiPool", &[&x.name, &rois], attributes, F32, dims)?;
        return Some(());
    }
    let rois = b.drawn(F32, &[count, Size::fixed(4)], Draw::Positive);
    let of = b.drawn(I64, &[count], Draw::Whole(0, images - 1));
    // Of a region that ends before it starts, onnxruntime counts samples by casts that are not defined.
    let samples = if b.tame { b.choices.between(1, 3) } else { b.choices.between(0, 3) };
    let mut attributes = vec![
        int("output_height", h),
        int("output_width", w),
        int("sampling_ratio", samples),
        text("mode", b.choices.pick(&["avg", "max"])),
        scale,
    ];
    if b.opset >= 16 && b.choices.chance(50) {
        let modes = ["half_pixel", "output_half_pixel"];
        attributes.push(text("coordinate_transformation_mode", b.choices.pick(&modes)));
    }
    b.emit1("RoiAlign", &[&x.name, &rois.name, &of.name], attributes, F32, dims)?;
    Some(())
}

/// A convolution with offsets, and sometimes a mask.
pub fn deformed(b: &mut Builder) -> Option<()> {
    if b.opset < 19 {
        return None;
    }
    let (x, c) = picture(b, 3, 2)?;
    let (kh, kw, m) = (b.choices.pick(&[1, 2]), b.choices.pick(&[1, 2, 3]), b.choices.pick(&[1, 2]));
    let out = [x.dims[2].map(|s| Some(s + 1 - kh))?, x.dims[3].map(|s| Some(s + 1 - kw))?];
    let taps = kh * kw;
    let offsets = [x.dims[0], Size::fixed(2 * taps), out[0], out[1]];
    if !fits(&offsets) {
        return None;
    }
    let w = b.leaf(F32, &[m, c, kh, kw].map(Size::fixed));
    let offset = b.drawn(F32, &offsets, Draw::Reals);
    let mut inputs = vec![x.name, w.name, offset.name, String::new()];
    if b.choices.chance(50) {
        inputs[3] = b.leaf(F32, &[Size::fixed(m)]).name;
    }
    if b.choices.chance(50) {
        inputs.push(b.drawn(F32, &[x.dims[0], Size::fixed(taps), out[0], out[1]], Draw::Positive).name);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1("DeformConv", &inputs, vec![], F32, vec![x.dims[0], Size::fixed(m), out[0], out[1]])?;
    Some(())
}

pub fn blocks(b: &mut Builder) -> Option<()> {
    if b.opset < 18 {
        return None;
    }
    let (n, channels) = (b.size(), b.choices.pick(&[1usize, 2]));
    let pad = b.choices.pick(&[0usize, 1]);
    let (image, block) = ([3 + pad, 4], [2, b.choices.pick(&[1, 3])]);
    let windows: usize = image.iter().zip(block).map(|(i, k)| i + 2 * pad - k + 1).product();
    let shape = [n, Size::fixed(channels * block[0] * block[1]), Size::fixed(windows)];
    if !fits(&shape) {
        return None;
    }
    let x = b.leaf(F32, &shape);
    let (image, block) = (image.map(|n| n as i64), block.map(|n| n as i64));
    let (sizes, blocks) = (b.ints(&image), b.ints(&block));
    let attributes = vec![ints("pads", &[pad as i64; 4])];
    let dims = vec![n, Size::fixed(channels), Size::fixed(image[0] as usize), Size::fixed(image[1] as usize)];
    b.emit1("Col2Im", &[&x.name, &sizes, &blocks], attributes, F32, dims)?;
    Some(())
}

/// Norms of windows, or of all there is.
pub fn norms(b: &mut Builder) -> Option<()> {
    let (x, _) = image(b, 3)?;
    let p = int("p", b.choices.pick(&[1, 2, 2, 3]));
    if b.choices.chance(40) {
        let ones = vec![Size::ONE; x.rank() - 2];
        b.emit1("GlobalLpPool", &[&x.name], vec![p], F32, [&x.dims[..2], &ones].concat())?;
        return Some(());
    }
    let w = window(b, &x, true)?;
    let mut attributes = w.attributes;
    let new = attributes.iter().any(|a| matches!(a.name(), "dilations" | "ceil_mode"));
    if new && b.opset < 18 {
        return None;
    }
    attributes.push(p);
    b.emit1("LpPool", &[&x.name], attributes, F32, [&x.dims[..2], &w.sizes].concat())?;
    Some(())
}

/// Maxima put back where they were.
pub fn unpooled(b: &mut Builder) -> Option<()> {
    let (x, _) = picture(b, 2, 2)?;
    let half = |s: Size| s.map(|s| Some(s / 2));
    let pooled = vec![x.dims[0], x.dims[1], half(x.dims[2])?, half(x.dims[3])?];
    let windows = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    let results = [(F32, pooled.clone()), (I64, pooled.clone())];
    let y = b.emit("MaxPool", &[&x.name], windows(), &results)?;
    let (mut inputs, mut dims) = (vec![y[0].name.clone(), y[1].name.clone()], x.dims.clone());
    // Without a shape, the result is as large as the windows are.
    let even = x.dims[2..].iter().all(|d| d.at.iter().all(|n| n.is_multiple_of(2)));
    if even && b.choices.chance(50) {
        dims = vec![x.dims[0], x.dims[1]];
        dims.extend(pooled[2..].iter().filter_map(|d| d.map(|d| Some(2 * d))));
    } else {
        inputs.push(b.emit1("Shape", &[&x.name], vec![], I64, vec![Size::fixed(4)])?.name);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1("MaxUnpool", &inputs, windows(), F32, dims)?;
    Some(())
}

/// The middle of a tensor, or it in the middle of zeros.
pub fn centred(b: &mut Builder) -> Option<()> {
    if b.opset < 18 {
        return None;
    }
    let x = b.operand(&[F32, F32, I32, F16], 1..4);
    let axis = b.choices.below(x.rank());
    let size = b.choices.pick(&[1usize, 2, 3, 4, 7, 9]);
    let asked = b.ints(&[size as i64]);
    let mut dims = x.dims.clone();
    dims[axis] = Size::fixed(size);
    let spelt = b.axis(axis, x.rank());
    b.emit1("CenterCropPad", &[&x.name, &asked], vec![ints("axes", &[spelt])], x.elem, dims)?;
    Some(())
}
