//! The attributes that convolutions and pools share; `auto_pad` becomes pads.

use trine_ir::ops::WindowAxis;
use trine_ir::{Dim, OpResult, Value, bail};

use super::super::NodeCx;

/// Where windows are, as our ops take it.
pub struct Window {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    /// Those before each axis, then those after each.
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
    /// A window starts at every stride; an odd pad is after.
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
                    (window.pads[i], window.pads[n + i]) =
                        same_padding(axis, &dims[i + 2], mode).unwrap_or((0, 0));
                }
            }
        }
        Ok(window)
    }

    /// The pads that there are no numbers for, as `Pad` takes them: those of `auto_pad` along axes of open size.
    pub fn open_pads(&self, cx: &NodeCx, x: Value) -> OpResult<Option<Vec<Dim>>> {
        let mode = AutoPad::of_node(cx)?;
        let (dims, n) = (cx.ty(x).dims, self.kernel.len());
        if !matches!(mode, AutoPad::SameUpper | AutoPad::SameLower) {
            return Ok(None);
        }
        let mut pads = vec![Dim::constant(0); 2 * (n + 2)];
        for (i, axis) in self.axes()?.iter().enumerate() {
            if same_padding(axis, &dims[i + 2], mode).is_none() {
                let open = open_padding(axis, &dims[i + 2], mode).ok_or("the pads overflow")?;
                (pads[i + 2], pads[n + 4 + i]) = open;
            }
        }
        Ok(pads.iter().any(|p| p.as_integer() != Some(0)).then_some(pads))
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
}

/// Pads such that there is a window at every stride: those before and after `extent`, if they are numbers.
fn same_padding(axis: &WindowAxis, extent: &Dim, mode: AutoPad) -> Option<(usize, usize)> {
    let last = match extent.as_const() {
        Some(0) => return Some((0, 0)),
        // From the start of the last window to the end.
        Some(extent) => (extent - 1) % axis.stride + 1,
        None => extent.div_exact(&Dim::constant(axis.stride)).map(|_| axis.stride)?,
    };
    let total = axis.reach().saturating_sub(last);
    Some(match mode {
        AutoPad::SameUpper => (total / 2, total.div_ceil(2)),
        _ => (total.div_ceil(2), total / 2),
    })
}

/// `same_padding` of an axis where it depends on a size that is open.
fn open_padding(axis: &WindowAxis, extent: &Dim, mode: AutoPad) -> Option<(Dim, Dim)> {
    let (stride, two) = (Dim::constant(axis.stride), Dim::constant(2));
    let last = extent.ceildiv(&stride)?.sub(&Dim::constant(1))?.mul(&stride)?;
    let total = last.add(&Dim::constant(axis.reach()))?.sub(extent)?.max_of(&Dim::constant(0))?;
    let less = total.floordiv(&two)?;
    let more = total.sub(&less)?;
    Some(if mode == AutoPad::SameUpper { (less, more) } else { (more, less) })
}

/// An attribute of `n` numbers that are not negative, or `default` for each.
pub fn counts(cx: &NodeCx, name: &str, n: usize, default: usize) -> OpResult<Vec<usize>> {
    match cx.attr_ints(name)? {
        Some(ints) => as_counts(name, ints, n),
        None => Ok(vec![default; n]),
    }
}

/// `n` numbers that are not negative.
pub fn as_counts(name: &str, ints: &[i64], n: usize) -> OpResult<Vec<usize>> {
    if ints.len() != n {
        bail!("`{name}` has {} elements, not {n}", ints.len());
    }
    let count = |i: &i64| match usize::try_from(*i) {
        Ok(count) => Ok(count),
        Err(_) => bail!("`{name}` has a negative element {i}"),
    };
    ints.iter().map(count).collect()
}
