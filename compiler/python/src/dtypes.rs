//! Types of elements as numpy and onnxruntime call them.

use numpy::PyArrayDescr;
use pyo3::prelude::*;
use trine_ir::Elem;

/// What onnxruntime calls a tensor of the type, as in `tensor(float)`.
pub fn onnx_name(elem: Elem) -> &'static str {
    match elem {
        Elem::F32 => "tensor(float)",
        Elem::F64 => "tensor(double)",
        Elem::F16 => "tensor(float16)",
        Elem::Bf16 => "tensor(bfloat16)",
        Elem::I8 => "tensor(int8)",
        Elem::I16 => "tensor(int16)",
        Elem::I32 => "tensor(int32)",
        Elem::I64 => "tensor(int64)",
        Elem::U8 => "tensor(uint8)",
        Elem::U16 => "tensor(uint16)",
        Elem::U32 => "tensor(uint32)",
        Elem::U64 => "tensor(uint64)",
        Elem::Bool => "tensor(bool)",
        Elem::I4 => "tensor(int4)",
        Elem::U4 => "tensor(uint4)",
        Elem::I2 => "tensor(int2)",
        Elem::U2 => "tensor(uint2)",
        Elem::F8E4M3 => "tensor(float8e4m3fn)",
        Elem::F8E4M3Uz => "tensor(float8e4m3fnuz)",
        Elem::F8E5M2 => "tensor(float8e5m2)",
        Elem::F8E5M2Uz => "tensor(float8e5m2fnuz)",
        Elem::F8E8M0 => "tensor(float8e8m0)",
        Elem::F4E2M1 => "tensor(float4e2m1)",
        Elem::Trit => "tensor(trit)",
    }
}

/// What numpy calls the type, and whether it is one of `ml_dtypes`; none where neither has it.
fn numpy_name(elem: Elem) -> Option<(&'static str, bool)> {
    Some(match elem {
        Elem::F32 => ("float32", false),
        Elem::F64 => ("float64", false),
        Elem::F16 => ("float16", false),
        Elem::I8 => ("int8", false),
        Elem::I16 => ("int16", false),
        Elem::I32 => ("int32", false),
        Elem::I64 => ("int64", false),
        Elem::U8 => ("uint8", false),
        Elem::U16 => ("uint16", false),
        Elem::U32 => ("uint32", false),
        Elem::U64 => ("uint64", false),
        Elem::Bool => ("bool", false),
        Elem::Bf16 => ("bfloat16", true),
        Elem::I4 => ("int4", true),
        Elem::U4 => ("uint4", true),
        Elem::I2 => ("int2", true),
        Elem::U2 => ("uint2", true),
        Elem::F8E4M3 => ("float8_e4m3fn", true),
        Elem::F8E4M3Uz => ("float8_e4m3fnuz", true),
        Elem::F8E5M2 => ("float8_e5m2", true),
        Elem::F8E5M2Uz => ("float8_e5m2fnuz", true),
        Elem::F8E8M0 => ("float8_e8m0fnu", true),
        Elem::F4E2M1 => ("float4_e2m1fn", true),
        Elem::Trit => return None,
    })
}

/// The type of numpy's arrays of such elements; the error says why there is none.
pub fn dtype(py: Python<'_>, elem: Elem) -> Result<Bound<'_, PyArrayDescr>, String> {
    let (name, is_extension) = numpy_name(elem).ok_or("numpy has no type for its elements")?;
    if !is_extension {
        return PyArrayDescr::new(py, name).map_err(|e| e.to_string());
    }
    let extension = py.import("ml_dtypes");
    let extension = extension
        .map_err(|_| format!("numpy has no `{name}` of its own: install the package `ml_dtypes`"))?;
    let scalar = extension.getattr(name).map_err(|_| format!("this `ml_dtypes` has no `{name}`"))?;
    PyArrayDescr::new(py, scalar).map_err(|e| e.to_string())
}

/// What Trine calls elements that numpy calls `name`; theirs where it has none.
pub fn own_name(name: &str) -> String {
    let elem = Elem::ALL.into_iter().find(|elem| numpy_name(*elem).is_some_and(|(theirs, _)| theirs == name));
    elem.map_or_else(|| name.into(), |elem| elem.name().into())
}
