//! Arrays of numpy's as what a session reads, and what a session gives as arrays of numpy's.
//!
//! An array that is contiguous is read where it lies; whoever writes to it while a session runs changes what the session
//! reads, as with onnxruntime. What comes out is copied into arrays that numpy owns, for a session uses its memory again.
#![allow(unsafe_code)]

use std::borrow::Cow;

use numpy::npyffi::{PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use trine::{RunError, View};
use trine_ir::{Elem, Type};

use crate::dtypes::own_name;
use crate::fault::Raised;

/// An array that a session reads.
pub struct Given<'py> {
    array: Bound<'py, PyUntypedArray>,
    elem: Elem,
    /// The elements, where they are not as numpy has them: packed, of less than a byte.
    packed: Option<Vec<u8>>,
}

impl<'py> Given<'py> {
    /// `value` as input `name` of the type `ty`, whose elements numpy calls `dtype`. Arrays whose rows are elsewhere or whose
    /// bytes are in another order are copied, and so is what is not an array.
    pub fn new(
        value: &Bound<'py, PyAny>,
        name: &str,
        ty: &Type,
        dtype: &Bound<'py, PyArrayDescr>,
    ) -> PyResult<Given<'py>> {
        let array = match value.cast::<PyUntypedArray>() {
            Ok(array) => array.clone(),
            Err(_) => from_other(value, name, dtype)?,
        };
        let array = if array.dtype().is_equiv_to(dtype) {
            array
        } else if array.dtype().num() == dtype.num() {
            // The same type, and the bytes of each element the other way round.
            array.call_method1("astype", (dtype,))?.cast_into()?
        } else {
            return Err(wrong_type(&array, name, ty)?.into());
        };
        let array = match array.is_c_contiguous() {
            true => array,
            false => numpy(value.py(), "ascontiguousarray")?.call1((array,))?.cast_into()?,
        };
        let mut given = Given { array, elem: ty.elem, packed: None };
        if ty.elem.bits() < 8 {
            given.packed = Some(pack(given.bytes(), ty.elem.bits()));
        }
        Ok(given)
    }

    pub fn view(&self) -> View<'_> {
        let data = self.packed.as_deref().unwrap_or_else(|| self.bytes());
        View { elem: self.elem, dims: self.array.shape(), data }
    }

    fn bytes(&self) -> &[u8] {
        let len = self.array.len() * self.array.dtype().itemsize();
        // SAFETY: `as_array_ptr` is that of a live array.
        let data = unsafe { (*self.array.as_array_ptr()).fields.data };
        if len == 0 {
            return &[];
        }
        // SAFETY: the array is contiguous, so that its elements are `len` bytes from `data` on, and it is kept alive by
        // `self`. That nobody writes to it meanwhile is the caller's to see to, as the documentation of `run` says.
        unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) }
    }
}

/// An array of what has numbers and is not an array of numpy's. What knows its own type keeps it.
fn from_other<'py>(
    value: &Bound<'py, PyAny>,
    name: &str,
    dtype: &Bound<'py, PyArrayDescr>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    // To numpy it is a float that is not a number.
    if value.is_none() {
        return Err(Raised::input(format!("input `{name}` is None")).into());
    }
    let asarray = numpy(value.py(), "asarray")?;
    let is_typed = value.hasattr("__array__")? || value.hasattr("__array_interface__")?;
    let array = if is_typed { asarray.call1((value,)) } else { asarray.call1((value, dtype)) };
    Ok(array.map_err(|e| Raised::input(format!("input `{name}`: {e}")))?.cast_into()?)
}

fn numpy<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("numpy")?.getattr(name)
}

fn wrong_type(array: &Bound<PyUntypedArray>, name: &str, ty: &Type) -> PyResult<Raised> {
    let dims: Vec<String> = array.shape().iter().map(usize::to_string).collect();
    let theirs: String = array.dtype().getattr("name")?.extract()?;
    let actual = format!("{}[{}]", own_name(&theirs), dims.join(","));
    Ok(RunError::InputType { name: name.into(), expected: ty.to_string(), actual }.into())
}

/// An array that is to be filled.
pub struct Made {
    pub array: Py<PyUntypedArray>,
    data: *mut u8,
    len: usize,
}

impl Made {
    /// An array of numpy's own, of `dims` and `dtype`.
    pub fn new(py: Python<'_>, dims: &[usize], dtype: Bound<'_, PyArrayDescr>) -> PyResult<Made> {
        let mut sizes: Vec<npy_intp> = dims.iter().map(|dim| *dim as npy_intp).collect();
        let (rank, itemsize) = (sizes.len() as i32, dtype.itemsize());
        // SAFETY: `sizes` has `rank` sizes; the call takes the reference to the type that it is given, and gives a new
        // reference to an array or none with an exception set, which `from_owned_ptr_or_err` tells apart.
        let array = unsafe {
            let made = PY_ARRAY_API.PyArray_Empty(py, rank, sizes.as_mut_ptr(), dtype.into_dtype_ptr(), 0);
            Bound::from_owned_ptr_or_err(py, made)?
        };
        let array: Bound<PyUntypedArray> = array.cast_into()?;
        // SAFETY: `as_array_ptr` is that of a live array.
        let data = unsafe { (*array.as_array_ptr()).fields.data }.cast::<u8>();
        let len = array.len() * itemsize;
        Ok(Made { array: array.unbind(), data, len })
    }

    /// Fills the array with the elements of a view of its type and dimensions.
    pub fn fill(&mut self, view: &View) -> Result<(), Raised> {
        let bytes = match view.elem.bits() {
            8.. => Cow::Borrowed(view.data),
            bits => Cow::Owned(unpack(view.data, bits, self.len)),
        };
        if bytes.len() != self.len {
            return Err(Raised::input(format!("an output has {} bytes, not {}", bytes.len(), self.len)));
        }
        if self.len > 0 {
            // SAFETY: the new array has `len` bytes from `data` on, `self` keeps it alive, and nobody else has seen it.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data, self.len) };
        }
        Ok(())
    }
}

/// Elements of `bits` bits, one a byte as `ml_dtypes` has them, as Trine has them: side by side, low bits first.
fn pack(bytes: &[u8], bits: usize) -> Vec<u8> {
    let mask = (1 << bits) - 1;
    let byte =
        |chunk: &[u8]| chunk.iter().enumerate().fold(0, |byte, (i, b)| byte | ((b & mask) << (i * bits)));
    bytes.chunks(8 / bits).map(byte).collect()
}

/// The reverse of [`pack`], for `count` elements. Bits above an element are 0, as in `ml_dtypes`.
fn unpack(packed: &[u8], bits: usize, count: usize) -> Vec<u8> {
    let (per, mask) = (8 / bits, (1 << bits) - 1);
    (0..count.min(packed.len() * per)).map(|i| (packed[i / per] >> ((i % per) * bits)) & mask).collect()
}
