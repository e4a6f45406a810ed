//! Tensors: a shape and its bytes, row-major, shared and never changed.
//!
//! The bytes may lie in a mapped file, so a model's weights cost no memory of their own. Elements are
//! little-endian; those under 8 bits are packed as ONNX packs them, low bits first, without row padding. A bool is a byte
//! that is 0 or 1, whatever a file says: kernels count on it.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use half::{bf16, f16};

use crate::dim::Dim;
use crate::memory::is_available;
use crate::ty::{Elem, Type};

/// A value at run time.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    elem: Elem,
    dims: Vec<usize>,
    data: Bytes,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TensorError {
    #[error("a tensor {elem}{dims:?} is too large")]
    TooLarge { elem: Elem, dims: Vec<usize> },
    #[error("a tensor {elem}{dims:?} takes {bytes} bytes, which cannot be had")]
    Memory { elem: Elem, dims: Vec<usize>, bytes: usize },
    #[error("a tensor {elem}{dims:?} takes {expected} bytes, not {actual}")]
    WrongSize { elem: Elem, dims: Vec<usize>, expected: usize, actual: usize },
    #[error("expected elements {expected}, got {actual}")]
    WrongElem { expected: Elem, actual: Elem },
}

/// Rust types that are elements of tensors as they stand. `bool` has accessors of its own.
pub trait Element: bytemuck::Pod + Default + PartialOrd + fmt::Debug + Send + Sync {
    const ELEM: Elem;
}

macro_rules! elements {
    ($($rust:ty = $elem:ident),*) => { $(impl Element for $rust { const ELEM: Elem = Elem::$elem; })* };
}
elements! { f32 = F32, f64 = F64, f16 = F16, bf16 = Bf16, i8 = I8, i16 = I16, i32 = I32, i64 = I64,
u8 = U8, u16 = U16, u32 = U32, u64 = U64 }

/// The most bytes that an op may ask for one result: a model that states a giant shape gets an error, not
/// the machine's memory.
pub const MAX_RESULT_BYTES: usize = 1 << 34;

/// The number of elements of a result that an op is about to allocate, if it is not too large.
pub fn result_count(elem: Elem, dims: &[usize]) -> Result<usize, TensorError> {
    let sizes = count(dims).and_then(|n| Some((n, elem.bytes(n)?)));
    let Some((count, bytes)) = sizes else {
        return Err(TensorError::TooLarge { elem, dims: dims.to_vec() });
    };
    if bytes > MAX_RESULT_BYTES || !is_available(bytes) {
        return Err(TensorError::Memory { elem, dims: dims.to_vec(), bytes });
    }
    Ok(count)
}

/// The product of `dims`; `None` when it, or that of some of them, overflows, so that neither the number of elements nor
/// a stride does. That one of them is 0 does not excuse the others.
pub fn count(dims: &[usize]) -> Option<usize> {
    let of_others =
        dims.iter().filter(|d| **d > 0).try_fold(1isize, |n, d| n.checked_mul(isize::try_from(*d).ok()?));
    of_others.map(|n| if dims.contains(&0) { 0 } else { n as usize })
}

impl Tensor {
    /// A tensor over `data`, whose length must be exactly what `elem` and `dims` ask for. Truths are 1, whatever they were.
    pub fn new(elem: Elem, dims: Vec<usize>, data: Bytes) -> Result<Tensor, TensorError> {
        let Some(expected) = count(&dims).and_then(|n| elem.bytes(n)) else {
            return Err(TensorError::TooLarge { elem, dims });
        };
        if expected != data.len() {
            return Err(TensorError::WrongSize { elem, dims, expected, actual: data.len() });
        }
        let data = if elem == Elem::Bool { normal_bools(data) } else { data };
        Ok(Tensor { elem, dims, data })
    }

    /// A tensor of `values`, as many as the product of `dims`.
    pub fn from_vec<T: Element>(dims: Vec<usize>, values: Vec<T>) -> Result<Tensor, TensorError> {
        Tensor::new(T::ELEM, dims, into_bytes(values))
    }

    pub fn from_bools(
        dims: Vec<usize>,
        values: impl IntoIterator<Item = bool>,
    ) -> Result<Tensor, TensorError> {
        Tensor::new(Elem::Bool, dims, values.into_iter().map(u8::from).collect::<Vec<_>>().into())
    }

    /// A tensor without dimensions.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor { elem: T::ELEM, dims: vec![], data: into_bytes(vec![value]) }
    }

    /// A one-dimensional tensor.
    pub fn vector<T: Element>(values: Vec<T>) -> Tensor {
        Tensor { elem: T::ELEM, dims: vec![values.len()], data: into_bytes(values) }
    }

    pub fn elem(&self) -> Elem {
        self.elem
    }

    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn ty(&self) -> Type {
        Type { elem: self.elem, dims: self.dims.iter().map(|&d| Dim::constant(d)).collect() }
    }

    /// The bytes, packed where elements are under 8 bits.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// The elements, borrowed where the bytes are aligned for `T` and copied where they are not.
    pub fn values<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        if self.elem != T::ELEM {
            return Err(TensorError::WrongElem { expected: T::ELEM, actual: self.elem });
        }
        Ok(cast_bytes(&self.data))
    }

    /// The elements of a `bool` tensor.
    pub fn bools(&self) -> Result<impl ExactSizeIterator<Item = bool> + Clone + '_, TensorError> {
        if self.elem != Elem::Bool {
            return Err(TensorError::WrongElem { expected: Elem::Bool, actual: self.elem });
        }
        Ok(self.data.iter().map(|b| *b != 0))
    }

    /// The same elements under another shape of as many elements.
    pub fn reshape(&self, dims: Vec<usize>) -> Result<Tensor, TensorError> {
        Tensor::new(self.elem, dims, self.data.clone())
    }

    /// The elements one a byte, sign-extended: for elements of 8 bits and under.
    pub fn unpacked(&self) -> Result<Cow<'_, [u8]>, TensorError> {
        let bits = self.elem.bits();
        if bits > 8 {
            return Err(TensorError::WrongElem { expected: Elem::I8, actual: self.elem });
        }
        Ok(match self.elem {
            Elem::Trit => Cow::Owned(crate::trit::unpack(&self.data, self.len()).map(|t| t as u8).collect()),
            _ if bits == 8 => Cow::Borrowed(&self.data),
            elem => {
                let (per, shift) = (8 / bits, 8 - bits);
                let field = |i: usize| (self.data[i / per] >> (i % per * bits)) << shift;
                let signed = elem.is_signed();
                let widen = |b: u8| if signed { ((b as i8) >> shift) as u8 } else { b >> shift };
                Cow::Owned((0..self.len()).map(|i| widen(field(i))).collect())
            }
        })
    }

    /// Packs bytes as `unpacked` gives them; bits above the element's width are dropped.
    pub fn pack(elem: Elem, dims: Vec<usize>, unpacked: &[u8]) -> Result<Tensor, TensorError> {
        let bits = elem.bits();
        let data = match elem {
            Elem::Trit => crate::trit::pack(bytemuck::cast_slice(unpacked)),
            _ if bits >= 8 => unpacked.to_vec(),
            _ => unpacked
                .chunks(8 / bits)
                .map(|c| c.iter().rev().fold(0u8, |byte, v| byte << bits | v & ((1 << bits) - 1)))
                .collect(),
        };
        let short = unpacked.len() % (8 / bits.min(8));
        debug_assert!(short == 0 || data.len() == unpacked.len() / (8 / bits) + 1);
        Tensor::new(elem, dims, data.into())
    }
}

/// Bytes of which each is 0 or 1; they stay where they are if they were.
fn normal_bools(data: Bytes) -> Bytes {
    if data.iter().all(|b| *b <= 1) { data } else { data.iter().map(|b| u8::from(*b != 0)).collect() }
}

/// The one place where a vector of elements becomes bytes, without a copy.
fn into_bytes<T: Element>(values: Vec<T>) -> Bytes {
    struct Owner<T>(Vec<T>);
    impl<T: Element> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Bytes::from_owner(Owner(values))
}

/// Bytes as elements: borrowed when aligned, else copied. The length must be a multiple of the element's.
pub fn cast_bytes<T: Element>(bytes: &[u8]) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(slice) => Cow::Borrowed(slice),
        Err(_) => {
            let size = size_of::<T>();
            Cow::Owned(bytes.chunks_exact(size).map(bytemuck::pod_read_unaligned).collect())
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Tensor({}, {} bytes)", self.ty(), self.data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_inverts_unpacking() {
        for (elem, values) in [
            (Elem::I4, [-8i8, 7, -1, 0, 3].as_slice()),
            (Elem::I2, &[-2, 1, 0, -1, 1, 1, 0]),
            (Elem::Trit, &[-1, 1, 0, -1, 1]),
            (Elem::U4, &[15, 0, 9]),
            (Elem::U2, &[3, 0, 2, 1, 1]),
        ] {
            let bytes: Vec<u8> = values.iter().map(|v| *v as u8).collect();
            let t = Tensor::pack(elem, vec![values.len()], &bytes).unwrap();
            assert_eq!(t.bytes().len(), elem.bytes(values.len()).unwrap());
            assert_eq!(&*t.unpacked().unwrap(), &bytes);
        }
    }

    #[test]
    fn sizes_are_checked() {
        let err = Tensor::new(Elem::F32, vec![2, 3], Bytes::from_static(&[0; 20])).unwrap_err();
        assert_eq!(err.to_string(), "a tensor f32[2, 3] takes 24 bytes, not 20");
        assert!(Tensor::new(Elem::F32, vec![usize::MAX, 8], Bytes::new()).is_err());
        assert!(Tensor::scalar(1.0f32).values::<i64>().is_err());
        assert_eq!(count(&[3, 0, 5]), Some(0));
        for dims in [[1 << 62, 2, 0], [0, 1 << 62, 2], [1 << 62, 0, 2]] {
            assert_eq!(count(&dims), None);
            assert!(Tensor::new(Elem::F32, dims.to_vec(), Bytes::new()).is_err());
        }
        let message = result_count(Elem::F32, &[1 << 33, 1]).unwrap_err().to_string();
        assert_eq!(message, "a tensor f32[8589934592, 1] takes 34359738368 bytes, which cannot be had");
    }

    #[test]
    fn truths_are_one() {
        let bools = Tensor::new(Elem::Bool, vec![4], Bytes::from_static(&[0, 1, 2, 255])).unwrap();
        assert_eq!(bools, Tensor::from_bools(vec![4], [false, true, true, true]).unwrap());
        let plain = Bytes::from_static(&[0, 1]);
        let kept = Tensor::new(Elem::Bool, vec![2], plain.clone()).unwrap();
        assert_eq!(kept.bytes().as_ptr(), plain.as_ptr());
    }

    #[test]
    fn unaligned_bytes_are_copied_and_right() {
        let all = Bytes::from([1.5f32, 2.5, -3.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        let mut shifted = vec![0u8];
        shifted.extend_from_slice(&all);
        let t = Tensor::new(Elem::F32, vec![3], Bytes::from(shifted).slice(1..)).unwrap();
        assert_eq!(&*t.values::<f32>().unwrap(), &[1.5, 2.5, -3.0]);
    }
}
