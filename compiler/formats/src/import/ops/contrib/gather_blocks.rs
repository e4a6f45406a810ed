//! GatherBlockQuantized: rows of a table that is stored as a few bits each, with a scale a block.
//!
//! What is gathered is the packed rows: the table stays as small as it is in the file, and only what is asked for is
//! unpacked. A byte's fields are read from a table of all bytes.

use trine_ir::ops::{Add, And, Div, Gather, GreaterOrEqual, Less, Max, Min, Mul, Slice, Sub, Where};
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::NodeCx;
use super::nn::{aligned, cast, reshape, scalar, size};

/// GatherBlockQuantized-1: `(data - zero) · scale` at indices along an axis, and zeros where there is no such index.
pub fn gather_block_quantized(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (data, ids, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.opt(3));
    let (ty, scales) = (cx.ty(data), cx.ty(scale));
    let rank = ty.rank();
    if rank == 0 || scales.rank() != rank || zero.is_some_and(|z| cx.ty(z).elem != ty.elem) {
        bail!("data {ty}, scales {scales} and zero points do not fit");
    }
    let gather = cx.axis(cx.attr_int("gather_axis", 0)?, rank)?;
    let quantize = cx.axis(cx.attr_int("quantize_axis", 1)?, rank)?;
    let block = match cx.attr_int("block_size", 128)? {
        n if n >= 16 && (n as u64).is_power_of_two() => usize::try_from(n).map_err(|e| e.to_string())?,
        n => bail!("`block_size` is {n}, not a power of two from 16 on"),
    };
    let table = Table::of(cx, ty.elem)?;
    if ty.elem == Elem::U8 && (gather != 0 || table.each > 1 && quantize == gather) {
        bail!("bytes are gathered along axis 0, and packed ones not along the axis of blocks");
    }
    let Some(mut dims) = ty.static_dims() else { bail!("the sizes of {ty} are not known") };
    dims[rank - 1] = dims[rank - 1].checked_mul(table.each).ok_or("a row is too long")?;
    let (table, data, zero) = table.in_bytes(cx, data, zero, gather + 1 == rank);
    let mut of_scales = dims.clone();
    of_scales[quantize] = dims[quantize].div_ceil(block);
    if scales.static_dims().as_ref() != Some(&of_scales) || !scales.elem.is_float() {
        bail!("scales are floats {of_scales:?}, got {scales}");
    }

    let (ids, known) = inside(cx, ids, data, gather)?;
    let rows = cx.add(Gather { axis: gather }, &[data, ids])?;
    let q = table.unpacked(cx, rows, dims[rank - 1])?;
    let mut of_blocks = ids;
    if quantize == gather {
        let each = scalar(cx, Elem::I64, block as f64)?;
        of_blocks = cx.add(Div {}, &[ids, each])?;
    }
    // Axis `quantize` as it lies in what is gathered.
    let apart = cx.rank(ids);
    let along = if quantize < gather { quantize } else { quantize + apart - 1 };
    let parameter = |cx: &mut NodeCx, x: Value| {
        let x = cx.add(Gather { axis: gather }, &[x, of_blocks])?;
        Ok::<_, trine_ir::OpError>(x)
    };
    // Blocks that fill their axis lie apart, each beside its scale; others are met by scales as often as they are long.
    let apart_blocks = quantize != gather && dims[quantize].is_multiple_of(block);
    let spread = |cx: &mut NodeCx, x: Value| match (quantize == gather, apart_blocks) {
        (true, _) => Ok(x),
        (false, true) => blocks_apart(cx, x, along, 1),
        (false, false) => repeated(cx, x, along, block, dims[quantize]),
    };
    let last = of_scales[rank - 1];
    let zero = match zero {
        None => scalar(cx, Elem::F32, table.middle)?,
        Some(zero) => {
            let rows = parameter(cx, zero)?;
            let zeros = table.unpacked(cx, rows, last)?;
            spread(cx, zeros)?
        }
    };
    let factors = parameter(cx, scale)?;
    let factors = cast(cx, factors, Elem::F32)?;
    // Indices that are nowhere have scales of 0.
    let lead: Vec<_> = (gather..gather + apart).collect();
    let known = aligned(cx, known, rank + apart - 1, &lead)?;
    let nothing = scalar(cx, Elem::F32, 0.0)?;
    let factors = cx.add(Where {}, &[known, factors, nothing])?;
    let factors = spread(cx, factors)?;
    let whole = cx.ty(q).dims;
    let q = if apart_blocks { blocks_apart(cx, q, along, block)? } else { q };
    let q = cx.add(Sub {}, &[q, zero])?;
    let y = cx.add(Mul {}, &[q, factors])?;
    let y = reshape(cx, y, whole)?;
    Ok(vec![cast(cx, y, scales.elem)?])
}

/// Indices from 0 on, all of which there are, and which of those given there were.
fn inside(cx: &mut NodeCx, ids: Value, data: Value, axis: usize) -> OpResult<(Value, Value)> {
    let ids = cast(cx, ids, Elem::I64)?;
    let (zero, one, count) =
        (scalar(cx, Elem::I64, 0.0)?, scalar(cx, Elem::I64, 1.0)?, size(cx, data, axis)?);
    let negative = cx.add(Less {}, &[ids, zero])?;
    let wrapped = cx.add(Add {}, &[ids, count])?;
    let ids = cx.add(Where {}, &[negative, wrapped, ids])?;
    let (low, high) = (cx.add(GreaterOrEqual {}, &[ids, zero])?, cx.add(Less {}, &[ids, count])?);
    let known = cx.add(And {}, &[low, high])?;
    let last = cx.add(Sub {}, &[count, one])?;
    let ids = cx.add(Max {}, &[ids, zero])?;
    Ok((cx.add(Min {}, &[ids, last])?, known))
}

/// `x` with `axis` as two: blocks, and what a block has.
fn blocks_apart(cx: &mut NodeCx, x: Value, axis: usize, block: usize) -> OpResult<Value> {
    let mut dims = cx.ty(x).dims;
    let Some(n) = dims.get(axis).and_then(Dim::as_const) else { bail!("the number of blocks is not known") };
    dims[axis] = Dim::constant(n / block);
    dims.insert(axis + 1, Dim::constant(block));
    reshape(cx, x, dims)
}

/// `x` with each element of `axis` so many times that there are `count`.
fn repeated(cx: &mut NodeCx, x: Value, axis: usize, block: usize, count: usize) -> OpResult<Value> {
    let dims = cx.ty(x).dims;
    let Some(blocks) = dims.get(axis).and_then(Dim::as_const) else {
        bail!("the number of blocks is not known")
    };
    if blocks == 1 {
        return Ok(x);
    }
    let of: Vec<i64> = (0..count).map(|i| (i / block) as i64).collect();
    let of = cx.constant(Tensor::vector(of));
    cx.add(Gather { axis }, &[x, of])
}

/// How a table is stored.
struct Table {
    /// Fields a byte; 1 where elements are not packed by hand.
    each: usize,
    bits: usize,
    signed: bool,
    /// The zero point of tables without any.
    middle: f64,
}

impl Table {
    fn of(cx: &NodeCx, elem: Elem) -> OpResult<Table> {
        match (elem, cx.attr_int("bits", 4)?) {
            (Elem::U8, bits @ (2 | 4 | 8)) => {
                let bits = bits as usize;
                Ok(Table { each: 8 / bits, bits, signed: false, middle: (1 << (bits - 1)) as f64 })
            }
            (Elem::I4 | Elem::U4, _) => Ok(Table { each: 1, bits: 4, signed: elem == Elem::I4, middle: 0.0 }),
            (elem, bits) => bail!("a table of {elem} with {bits} bits is not supported"),
        }
    }

    /// Elements of four bits as bytes of two, which kernels read, where no row begins within a byte.
    fn in_bytes(
        self,
        cx: &mut NodeCx,
        data: Value,
        zero: Option<Value>,
        within_rows: bool,
    ) -> (Table, Value, Option<Value>) {
        let pairs = |cx: &NodeCx, v: Value| {
            let tensor = cx.const_tensor(v).filter(|t| t.elem().bits() == 4)?;
            let (last, lead) = tensor.dims().split_last()?;
            let dims = [lead, &[last / 2]].concat();
            let bytes = tensor.bytes().clone();
            last.is_multiple_of(2).then(|| Tensor::new(Elem::U8, dims, bytes).ok())?
        };
        let found = (pairs(cx, data), zero.map(|zero| pairs(cx, zero)));
        match found {
            (Some(data), None) if !within_rows => (Table { each: 2, ..self }, cx.constant(data), None),
            (Some(data), Some(Some(zero))) if !within_rows => {
                (Table { each: 2, ..self }, cx.constant(data), Some(cx.constant(zero)))
            }
            _ => (self, data, zero),
        }
    }

    /// Rows as f32, with `count` elements along the last axis.
    fn unpacked(&self, cx: &mut NodeCx, rows: Value, count: usize) -> OpResult<Value> {
        if self.each == 1 {
            return cast(cx, rows, Elem::F32);
        }
        let mut fields = vec![];
        for byte in 0..=u8::MAX {
            for i in 0..self.each {
                let field = byte >> (i * self.bits) & u8::MAX >> (8 - self.bits);
                let negative = self.signed && field >> (self.bits - 1) == 1;
                fields.push(f32::from(field) - if negative { (1 << self.bits) as f32 } else { 0.0 });
            }
        }
        let fields = cx.constant(Tensor::from_vec(vec![256, self.each], fields)?);
        let bytes = cast(cx, rows, Elem::I64)?;
        let mut dims = cx.ty(bytes).dims;
        let y = cx.add(Gather { axis: 0 }, &[fields, bytes])?;
        let axis = dims.len() - 1;
        let Some(width) = dims[axis].as_const().and_then(|n| n.checked_mul(self.each)) else {
            bail!("the length of a row is not known")
        };
        dims[axis] = Dim::constant(width);
        let y = reshape(cx, y, dims)?;
        if width == count { Ok(y) } else { first(cx, y, axis, count) }
    }
}

/// The first `count` elements along `axis`.
fn first(cx: &mut NodeCx, x: Value, axis: usize, count: usize) -> OpResult<Value> {
    let count = Dim::constant(count);
    cx.add(
        Slice {
            axes: vec![axis],
            starts: vec![Dim::constant(0)],
            ends: vec![count],
            steps: vec![1],
            sizes: None,
        },
        &[x],
    )
}
