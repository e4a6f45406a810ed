//! The attributes that convolutions and pools share; `auto_pad` becomes pads.

use trine_ir::ops::{WindowAxis, WindowCount};
use trine_ir::{Dim, OpResult, Value, bail};

use super::super::NodeCx;

/// Where windows are, as our ops take it.
pub struct Window {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    /// Those before each axis, then those behind each.
    pub pads: Vec<usize>,
    pub dilations: Vec<usize>,
}

/// What decides the pads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AutoPad {
    /// The attribute `pads`.
    Explicit,
    /// There are none.
    Valid,
    /// A window starts at every stride; an odd pad is behind.
    SameUpper,
    /// The same with an odd pad before.
    SameLower,
}

impl AutoPad {
    pub fn of_node(cx: &NodeCx) -> OpResult<AutoPad> {
        Ok(match cx.attr_str("auto_pad", "NOTSET")? {
            "NOTSET" | "" => AutoPad::Explicit,
            "VALID" => AutoPad::Valid,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            other => bail!("`auto_pad` is `{}`", other.escape_debug()),
        })
    }
}

impl Window {
    /// The windows of `kernel` over `x`.
    pub fn of_node(cx: &NodeCx, kernel: Vec<usize>, x: Value) -> OpResult<Window> {
        let (n, dims) = (kernel.len(), cx.ty(x).dims);
        if dims.len() != n + 2 {
            bail!("a kernel of {n} axes does not fit {}", cx.ty(x));
        }
        let mut window = Window::unpadded(cx, kernel)?;
        let mode = AutoPad::of_node(cx)?;
        match mode {
            AutoPad::Explicit => window.pads = counts(cx, "pads", 2 * n, 0)?,
            AutoPad::Valid => {}
            AutoPad::SameUpper | AutoPad::SameLower => {
                for (i, axis) in window.axes()?.iter().enumerate() {
                    let total = same_padding(axis, &dims[i + 2])?;
                    (window.pads[i], window.pads[n + i]) = match mode {
                        AutoPad::SameUpper => (total / 2, total.div_ceil(2)),
                        _ => (total.div_ceil(2), total / 2),
                    };
                }
            }
        }
        Ok(window)
    }

    /// Strides and dilations without pads.
    pub fn unpadded(cx: &NodeCx, kernel: Vec<usize>) -> OpResult<Window> {
        let n = kernel.len();
        let (strides, dilations) = (counts(cx, "strides", n, 1)?, counts(cx, "dilations", n, 1)?);
        Ok(Window { kernel, strides, pads: vec![0; 2 * n], dilations })
    }

    pub fn axes(&self) -> OpResult<Vec<WindowAxis>> {
        WindowAxis::all(&self.kernel, &self.strides, &self.pads, &self.dilations)
    }

    /// The spatial dimensions of the result over `x`, if our ops need to be told: a symbol for each that a
    /// stride rounds, the same one wherever the same number is rounded the same way.
    pub fn sizes(&self, cx: &mut NodeCx, x: Value, ceil: bool) -> OpResult<Option<Vec<Dim>>> {
        let (mut rounded, mut sizes) = (false, vec![]);
        for (axis, dim) in self.axes()?.iter().zip(&cx.ty(x).dims[2..]) {
            sizes.push(match axis.count_dim(dim, ceil)? {
                WindowCount::Known(count) => count,
                WindowCount::Rounded(text) => {
                    rounded = true;
                    cx.named_dim(&text)
                }
            });
        }
        Ok(rounded.then_some(sizes))
    }
}

/// Pads such that there is a window at every stride.
fn same_padding(axis: &WindowAxis, extent: &Dim) -> OpResult<usize> {
    let last = match extent.as_const() {
        Some(0) => return Ok(0),
        // From the start of the last window to the end.
        Some(extent) => (extent - 1) % axis.stride + 1,
        None if extent.div_exact(&Dim::constant(axis.stride)).is_some() => axis.stride,
        None => bail!(
            "`auto_pad` with stride {} depends on the size of an axis of `{extent}`; \
             fix its size or export with `pads`",
            axis.stride
        ),
    };
    Ok(axis.reach().saturating_sub(last))
}

/// An attribute of `n` numbers that are not negative, or `default` for each.
pub fn counts(cx: &NodeCx, name: &str, n: usize, default: usize) -> OpResult<Vec<usize>> {
    let Some(ints) = cx.attr_ints(name)? else { return Ok(vec![default; n]) };
    if ints.len() != n {
        bail!("`{name}` has {} elements, not {n}", ints.len());
    }
    let count = |i: &i64| match usize::try_from(*i) {
        Ok(count) => Ok(count),
        Err(_) => bail!("`{name}` has a negative element {i}"),
    };
    ints.iter().map(count).collect()
}
