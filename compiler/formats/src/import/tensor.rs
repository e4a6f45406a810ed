//! ONNX tensors as ours: raw bytes are taken as they lie, typed fields are converted.

use bytes::Bytes;
use trine_ir::tensor::count;
use trine_ir::{Elem, Tensor};

use super::error::ImportError;
use super::external::Files;
use super::proto::tensor_proto::{DataLocation, DataType};
use super::proto::{SparseTensorProto, TensorProto};

/// Axes a tensor may have, as in numpy.
pub(super) const MAX_RANK: usize = 64;

/// Bytes a sparse tensor may take when it is made dense.
const MAX_DENSE: usize = 1 << 30;

/// The element type that an ONNX data type is; the message names those that we lack.
pub fn elem(data_type: i32) -> Result<Elem, String> {
    Ok(match DataType::try_from(data_type) {
        Ok(DataType::Float) => Elem::F32,
        Ok(DataType::Double) => Elem::F64,
        Ok(DataType::Float16) => Elem::F16,
        Ok(DataType::Bfloat16) => Elem::Bf16,
        Ok(DataType::Int8) => Elem::I8,
        Ok(DataType::Int16) => Elem::I16,
        Ok(DataType::Int32) => Elem::I32,
        Ok(DataType::Int64) => Elem::I64,
        Ok(DataType::Uint8) => Elem::U8,
        Ok(DataType::Uint16) => Elem::U16,
        Ok(DataType::Uint32) => Elem::U32,
        Ok(DataType::Uint64) => Elem::U64,
        Ok(DataType::Bool) => Elem::Bool,
        Ok(DataType::Int4) => Elem::I4,
        Ok(DataType::Uint4) => Elem::U4,
        Ok(DataType::Int2) => Elem::I2,
        Ok(DataType::Uint2) => Elem::U2,
        Ok(DataType::Float8e4m3fn) => Elem::F8E4M3,
        Ok(DataType::Float8e4m3fnuz) => Elem::F8E4M3Uz,
        Ok(DataType::Float8e5m2) => Elem::F8E5M2,
        Ok(DataType::Float8e5m2fnuz) => Elem::F8E5M2Uz,
        Ok(DataType::Float8e8m0) => Elem::F8E8M0,
        Ok(DataType::Float4e2m1) => Elem::F4E2M1,
        Ok(other) => return Err(format!("elements of type {} are not supported", other.as_str_name())),
        // Types that came with opset 28.
        Err(_) if (27..=28).contains(&data_type) => {
            return Err("elements of 6-bit floats are not supported".into());
        }
        Err(_) => return Err(format!("{data_type} is not a data type of ONNX")),
    })
}

/// The tensor, over the bytes of the file where they are raw.
pub fn tensor(proto: &TensorProto, files: &Files) -> Result<Tensor, ImportError> {
    let fail = |message: String| ImportError::Tensor { tensor: proto.name().into(), message };
    let elem = elem(proto.data_type()).map_err(fail)?;
    let dims = dims(&proto.dims).map_err(fail)?;
    if proto.segment.is_some() {
        return Err(fail("segments are not supported".into()));
    }
    let data = if proto.data_location() == DataLocation::External {
        files.data(proto)?
    } else if let Some(raw) = &proto.raw_data {
        raw.clone()
    } else {
        typed(proto, elem).map_err(fail)?
    };
    Tensor::new(elem, dims, data).map_err(|e| fail(e.to_string()))
}

/// A sparse tensor made dense.
pub fn sparse(proto: &SparseTensorProto, files: &Files) -> Result<Tensor, ImportError> {
    let (none, values, indices) = (TensorProto::default(), &proto.values, &proto.indices);
    let values = values.as_ref().unwrap_or(&none);
    let fail = |message: String| ImportError::Tensor { tensor: values.name().into(), message };
    let places = tensor(indices.as_ref().unwrap_or(&none), files)?;
    let values = tensor(values, files)?;
    let dims = dims(&proto.dims).map_err(fail)?;
    let size = values.elem().bits() / 8;
    if size == 0 {
        return Err(fail(format!("sparse elements of type {} are not supported", values.elem())));
    }
    let bytes = count(&dims).and_then(|n| n.checked_mul(size)).filter(|n| *n <= MAX_DENSE);
    let mut dense = vec![0u8; bytes.ok_or_else(|| fail(format!("sparse shape {dims:?} is too large")))?];
    let all = places.values::<i64>().map_err(|e| fail(e.to_string()))?;
    let per = match places.dims() {
        [n] if *n == values.len() => 1,
        [n, rank] if *n == values.len() && *rank == dims.len() => *rank,
        shape => {
            let (n, rank) = (values.len(), dims.len());
            return Err(fail(format!(
                "sparse indices of shape {shape:?} do not fit {n} values of rank {rank}"
            )));
        }
    };
    for (i, value) in values.bytes().chunks_exact(size).enumerate() {
        let index = &all[i * per..(i + 1) * per];
        let at = if places.rank() == 1 { usize::try_from(index[0]).ok() } else { flat(&dims, index) };
        let slot = at.and_then(|at| at.checked_mul(size)).and_then(|at| dense.get_mut(at..at + size));
        slot.ok_or_else(|| fail(format!("sparse index {index:?} lies outside of {dims:?}")))?
            .copy_from_slice(value);
    }
    Tensor::new(values.elem(), dims.clone(), dense.into()).map_err(|e| fail(e.to_string()))
}

/// The place of a multi-dimensional index in a tensor of shape `dims`.
fn flat(dims: &[usize], index: &[i64]) -> Option<usize> {
    dims.iter().zip(index).try_fold(0usize, |at, (d, i)| {
        let i = usize::try_from(*i).ok().filter(|i| i < d)?;
        at.checked_mul(*d)?.checked_add(i)
    })
}

fn dims(dims: &[i64]) -> Result<Vec<usize>, String> {
    if dims.len() > MAX_RANK {
        return Err(format!("{} axes are more than {MAX_RANK}", dims.len()));
    }
    let checked = dims.iter().map(|d| usize::try_from(*d).map_err(|_| format!("dimension {d} is negative")));
    checked.collect()
}

/// The elements of the typed field that belongs to `elem`, as bytes.
fn typed(proto: &TensorProto, elem: Elem) -> Result<Bytes, String> {
    fn narrow<T: Copy + std::fmt::Display, N: TryFrom<T> + bytemuck::NoUninit>(
        values: &[T],
    ) -> Result<Bytes, String> {
        let mut bytes = Vec::with_capacity(values.len() * size_of::<N>());
        for v in values {
            let n = N::try_from(*v).map_err(|_| format!("element {v} is out of range"))?;
            bytes.extend_from_slice(bytemuck::bytes_of(&n));
        }
        Ok(bytes.into())
    }
    let ints = &proto.int32_data;
    match elem {
        Elem::F32 => Ok(bytemuck::cast_slice(&proto.float_data).to_vec().into()),
        Elem::F64 => Ok(bytemuck::cast_slice(&proto.double_data).to_vec().into()),
        Elem::I64 => Ok(bytemuck::cast_slice(&proto.int64_data).to_vec().into()),
        Elem::U64 => Ok(bytemuck::cast_slice(&proto.uint64_data).to_vec().into()),
        Elem::U32 => narrow::<_, u32>(&proto.uint64_data),
        Elem::I32 => Ok(bytemuck::cast_slice(ints).to_vec().into()),
        Elem::I16 => narrow::<_, i16>(ints),
        Elem::I8 => narrow::<_, i8>(ints),
        Elem::U16 | Elem::F16 | Elem::Bf16 => narrow::<_, u16>(ints),
        Elem::U8 => narrow::<_, u8>(ints),
        Elem::Bool => Ok(ints.iter().map(|v| u8::from(*v != 0)).collect()),
        // Each entry is a byte of packed elements; writers differ in whether they extend its sign.
        Elem::I4 | Elem::U4 | Elem::I2 | Elem::U2 => Ok(ints.iter().map(|v| *v as u8).collect()),
        Elem::F8E4M3 | Elem::F8E4M3Uz | Elem::F8E5M2 | Elem::F8E5M2Uz | Elem::F8E8M0 | Elem::F4E2M1 => {
            Ok(ints.iter().map(|v| *v as u8).collect())
        }
        Elem::Trit => Err("trits are not a type of ONNX".into()),
    }
}
