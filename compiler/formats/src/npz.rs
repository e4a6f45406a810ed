//! Numpy's files as tensors: `.npy` holds one array, `.npz` several by name.
//!
//! Element types that numpy lacks are widened when they are written (bf16 and floats of 8 bits to f32, integers under 8 bits to 8). The
//! header is checked before it is parsed, as its parser recurses and multiplies without looking.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar, WriterBuilder};
use trine_ir::memory::is_available;
use trine_ir::tensor::{MAX_RESULT_BYTES, count, result_count};
use trine_ir::{Elem, Tensor, small_float};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::disk::{FileError, read, write_atomically};
use trine_ir::Fault;

/// Bytes of the longest header.
const MAX_HEADER: usize = 1 << 16;

/// What follows the name of an array in an archive.
const ENDING: &str = ".npy";

/// What is wrong with a file of arrays.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no archive, or no array that is supported.
    #[error("`{}`: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// An array of an archive is broken or not supported.
    #[error("`{}`: array `{}`: {message}", path.display(), name.escape_debug())]
    Array {
        /// The archive.
        path: PathBuf,
        /// The array's name, without `.npy`.
        name: String,
        /// What is wrong with it.
        message: String,
    },
}

impl ArrayError {
    /// Who can do something about it.
    pub fn fault(&self) -> Fault {
        match self {
            ArrayError::File(error) => error.fault(),
            ArrayError::Format { .. } | ArrayError::Array { .. } => Fault::Input,
        }
    }
}

/// The arrays of an `.npz` file, read when they are asked for.
pub struct Npz {
    path: PathBuf,
    archive: ZipArchive<Cursor<bytes::Bytes>>,
    names: Vec<String>,
}

impl Npz {
    /// Opens an archive, and lists its arrays. None is read yet.
    pub fn open(path: impl AsRef<Path>) -> Result<Npz, ArrayError> {
        let path = path.as_ref().to_path_buf();
        let bytes = read(&path)?;
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| ArrayError::Format {
            path: path.clone(),
            message: format!("not an .npz file: {e}"),
        })?;
        let mut names = vec![];
        for i in 0..archive.len() {
            let entry = archive.by_index_raw(i);
            names.extend(entry.ok().and_then(|e| Some(e.name().ok()?.strip_suffix(ENDING)?.to_string())));
        }
        Ok(Npz { path, archive, names })
    }

    /// The names of the arrays, in the order of the file.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The array called `name`, if there is one.
    pub fn get(&mut self, name: &str) -> Result<Option<Tensor>, ArrayError> {
        if !self.names.iter().any(|n| n == name) {
            return Ok(None);
        }
        let fail = |message| ArrayError::Array { path: self.path.clone(), name: name.into(), message };
        let mut entry = self.archive.by_name(&format!("{name}{ENDING}")).map_err(|e| fail(e.to_string()))?;
        // An archive may inflate to any size: no more is read than the header asks for, and nothing where that is too much.
        let header = read_header(&mut entry).map_err(fail)?;
        let array = Array::new(&header).map_err(fail)?;
        let data = read_exactly(&mut entry, array.bytes).map_err(|e| fail(array.shortage(e)))?;
        array.tensor(&data).map(Some).map_err(fail)
    }
}

/// The array of an `.npy` file.
pub fn read_npy(path: impl AsRef<Path>) -> Result<Tensor, ArrayError> {
    let path = path.as_ref();
    let bytes = read(path)?;
    decode(&bytes).map_err(|message| ArrayError::Format { path: path.into(), message })
}

/// Writes arrays by name.
pub fn write_npz<'a>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), FileError> {
    write_atomically(path.as_ref(), |file| {
        let mut npz = ZipWriter::new(file);
        for (name, tensor) in arrays {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(tensor.bytes().len() > u32::MAX as usize / 2);
            npz.start_file(format!("{name}{ENDING}"), options)?;
            encode(tensor, &mut npz)?;
        }
        npz.finish()?;
        Ok(())
    })
}

/// Writes one array, as an `.npy` file.
pub fn write_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<(), FileError> {
    write_atomically(path.as_ref(), |file| encode(tensor, file))
}

fn decode(bytes: &[u8]) -> Result<Tensor, String> {
    let mut data = bytes;
    let header = read_header(&mut data)?;
    let array = Array::new(&header)?;
    match data.get(..array.bytes) {
        Some(data) => array.tensor(data),
        None => Err(array.shortage(Shortage::Ends(data.len()))),
    }
}

/// What a header says of the data after it.
struct Array {
    header: NpyHeader,
    elem: Elem,
    dims: Vec<usize>,
    bytes: usize,
}

impl Array {
    fn new(mut header: &[u8]) -> Result<Array, String> {
        check_header(header)?;
        let header = NpyHeader::from_reader(&mut header).map_err(|e| format!("not an .npy file: {e}"))?;
        let unsupported = || format!("elements of dtype {} are not supported", header.dtype().descr());
        let DType::Plain(ty) = header.dtype() else { return Err(unsupported()) };
        let elem = match (ty.type_char(), ty.size_field()) {
            (TypeChar::Bool, 1) => Elem::Bool,
            (TypeChar::Float, 2) => Elem::F16,
            (TypeChar::Float, 4) => Elem::F32,
            (TypeChar::Float, 8) => Elem::F64,
            (TypeChar::Int, 1) => Elem::I8,
            (TypeChar::Int, 2) => Elem::I16,
            (TypeChar::Int, 4) => Elem::I32,
            (TypeChar::Int, 8) => Elem::I64,
            (TypeChar::Uint, 1) => Elem::U8,
            (TypeChar::Uint, 2) => Elem::U16,
            (TypeChar::Uint, 4) => Elem::U32,
            (TypeChar::Uint, 8) => Elem::U64,
            // What the `ml_dtypes` package writes for bfloat16.
            (TypeChar::RawData, 2) => Elem::Bf16,
            _ => return Err(unsupported()),
        };
        let dims: Option<Vec<usize>> = header.shape().iter().map(|d| usize::try_from(*d).ok()).collect();
        let dims = dims.ok_or("the shape is too large")?;
        let bytes = count(&dims).and_then(|n| elem.bytes(n)).ok_or("the shape is too large")?;
        Ok(Array { header, elem, dims, bytes })
    }

    /// The array that `data`, as long as the header says, is.
    fn tensor(self, data: &[u8]) -> Result<Tensor, String> {
        let Array { header, elem, dims, .. } = self;
        result_count(elem, &dims).map_err(|e| e.to_string())?;
        let fortran = header.order() == Order::Fortran;
        let file = NpyFile::with_header(header, data);
        let tensor = elements(file, elem, if fortran { dims.iter().rev().copied().collect() } else { dims })?;
        if fortran { transposed(&tensor).map_err(|e| e.to_string()) } else { Ok(tensor) }
    }

    fn shortage(&self, shortage: Shortage) -> String {
        let Array { elem, dims, bytes, .. } = self;
        match shortage {
            Shortage::Ends(there) => format!("{elem}{dims:?} takes {bytes} bytes, {there} are there"),
            Shortage::Memory => format!("{elem}{dims:?} takes {bytes} bytes, which cannot be had"),
            Shortage::Read(error) => error.to_string(),
        }
    }
}

/// Why an array's data could not be read.
enum Shortage {
    /// After so many bytes.
    Ends(usize),
    Memory,
    Read(std::io::Error),
}

/// The next `count` bytes. Memory is taken as they come: a header may claim what is not there.
fn read_exactly(from: &mut impl Read, count: usize) -> Result<Vec<u8>, Shortage> {
    const STEP: usize = 1 << 20;
    if count > MAX_RESULT_BYTES {
        return Err(Shortage::Memory);
    }
    let mut bytes = vec![];
    while bytes.len() < count {
        let step = (count - bytes.len()).min(bytes.len().max(STEP));
        if !is_available(step) || bytes.try_reserve(step).is_err() {
            return Err(Shortage::Memory);
        }
        let read = from.by_ref().take(step as u64).read_to_end(&mut bytes).map_err(Shortage::Read)?;
        if read < step {
            return Err(Shortage::Ends(bytes.len()));
        }
    }
    Ok(bytes)
}

fn elements(file: NpyFile<&[u8]>, elem: Elem, dims: Vec<usize>) -> Result<Tensor, String> {
    macro_rules! read {
        ($($elem:ident = $t:ty),*) => { match elem {
            $(Elem::$elem => Tensor::from_vec(dims, file.into_vec::<$t>().map_err(|e| e.to_string())?),)*
            Elem::Bool => Tensor::from_bools(dims, file.into_vec::<bool>().map_err(|e| e.to_string())?),
            elem => Tensor::new(elem, dims, file.into_inner().to_vec().into()),
        } };
    }
    let tensor = read! { F16 = f16, F32 = f32, F64 = f64, I8 = i8, I16 = i16, I32 = i32, I64 = i64,
    U8 = u8, U16 = u16, U32 = u32, U64 = u64 };
    tensor.map_err(|e| e.to_string())
}

/// All axes in the opposite order; elements are whole bytes.
fn transposed(t: &Tensor) -> Result<Tensor, trine_ir::TensorError> {
    let dims: Vec<usize> = t.dims().iter().rev().copied().collect();
    let size = t.elem().bits() / 8;
    let mut out = Vec::with_capacity(t.bytes().len());
    let mut index = vec![0usize; dims.len()];
    // The stride in `t` of each axis of the result: its first axis is the last of `t`.
    let strides: Vec<usize> = (0..dims.len()).map(|i| dims[..i].iter().product()).collect();
    for _ in 0..t.len() {
        let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        out.extend_from_slice(&t.bytes()[at * size..][..size]);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Tensor::new(t.elem(), dims, out.into())
}

fn encode(tensor: &Tensor, out: impl Write) -> std::io::Result<()> {
    fn array<T: npyz::AutoSerialize>(
        dims: &[usize],
        values: impl IntoIterator<Item = T>,
        out: impl Write,
    ) -> std::io::Result<()> {
        let shape: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
        let mut npy = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd()?;
        npy.extend(values)?;
        npy.finish()
    }
    macro_rules! write {
        ($($elem:ident = $t:ty),*) => { match tensor.elem() {
            $(Elem::$elem => {
                let values = tensor.values::<$t>().map_err(std::io::Error::other)?;
                array(tensor.dims(), values.iter().copied(), out)
            })*
            Elem::Bool => {
                array(tensor.dims(), tensor.bools().map_err(std::io::Error::other)?, out)
            }
            Elem::Bf16 => {
                let values = tensor.values::<bf16>().map_err(std::io::Error::other)?;
                array(tensor.dims(), values.iter().map(|v| v.to_f32()), out)
            }
            elem if elem.is_small_float() => {
                let codes = tensor.unpacked().map_err(std::io::Error::other)?;
                array(tensor.dims(), codes.iter().map(|code| small_float::decode(elem, *code)), out)
            }
            elem => {
                let values = tensor.unpacked().map_err(std::io::Error::other)?;
                if elem.is_signed() {
                    array(tensor.dims(), values.iter().map(|v| *v as i8), out)
                } else {
                    array(tensor.dims(), values.iter().copied(), out)
                }
            }
        } };
    }
    write! { F16 = f16, F32 = f32, F64 = f64, I8 = i8, I16 = i16, I32 = i32, I64 = i64,
    U8 = u8, U16 = u16, U32 = u32, U64 = u64 }
}

/// The header of an `.npy` file, magic number included, and nothing of what follows.
fn read_header(from: &mut impl Read) -> Result<Vec<u8>, String> {
    let cut = || "the file ends within its header".to_string();
    let mut more = |header: &mut Vec<u8>, count: usize| {
        let read = from.by_ref().take(count as u64).read_to_end(header).map_err(|e| e.to_string())?;
        if read == count { Ok(()) } else { Err(cut()) }
    };
    let mut header = vec![];
    match (more(&mut header, 8), header.get(..6)) {
        (_, None) => return Err("not an .npy file".into()),
        (_, Some(magic)) if magic != b"\x93NUMPY" => return Err("not an .npy file".into()),
        (read, _) => read?,
    }
    let digits = match header[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(format!("version {version} of the .npy format is not known")),
    };
    more(&mut header, digits)?;
    let length = header[8..].iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > MAX_HEADER {
        return Err("the header is too complex".into());
    }
    more(&mut header, length)?;
    Ok(header)
}

/// Braces and other brackets of a header. The parser of npyz reads what is within one again for each thing that it may be,
/// so that the time doubles or trebles with each that is nested; a header has one brace, and of other brackets one, or some
/// more where elements have fields.
const MOST_BRACES: usize = 2;
const MOST_BRACKETS: usize = 8;

/// Refuses headers that the parser of npyz cannot take: deep ones, and shapes whose product overflows.
fn check_header(header: &[u8]) -> Result<(), String> {
    let count = |brackets: &[u8]| header.iter().filter(|b| brackets.contains(b)).count();
    if count(b"{") > MOST_BRACES || count(b"([") > MOST_BRACKETS {
        return Err("the header is too complex".into());
    }
    let product = header
        .split(|b| !b.is_ascii_digit())
        .filter(|digits| digits.iter().any(|d| *d != b'0'))
        .filter_map(|digits| std::str::from_utf8(digits).ok())
        .try_fold(1u64, |product, digits| product.checked_mul(digits.parse().ok()?));
    match product {
        Some(_) => Ok(()),
        None => Err("the shape is too large".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(tensor: &Tensor) -> Tensor {
        let mut bytes = vec![];
        encode(tensor, &mut bytes).unwrap();
        decode(&bytes).unwrap()
    }

    #[test]
    fn arrays_come_back_and_narrow_elements_widened() {
        for tensor in [
            Tensor::from_vec(vec![2, 2], vec![1f32, -0.0, f32::INFINITY, 2.5]).unwrap(),
            Tensor::from_vec(vec![0, 3], Vec::<i64>::new()).unwrap(),
            Tensor::from_vec(vec![3], vec![f16::ONE, f16::MAX, f16::ZERO]).unwrap(),
            Tensor::from_bools(vec![3], [true, false, true]).unwrap(),
            Tensor::scalar(7u64),
            Tensor::scalar(-7i16),
        ] {
            assert_eq!(round_trip(&tensor), tensor);
        }
        let narrow = Tensor::pack(Elem::I4, vec![3], &[0xf8, 7, 0]).unwrap();
        assert_eq!(round_trip(&narrow), Tensor::vector(vec![-8i8, 7, 0]));
        let narrow = Tensor::pack(Elem::U2, vec![3], &[3, 0, 2]).unwrap();
        assert_eq!(round_trip(&narrow), Tensor::vector(vec![3u8, 0, 2]));
        assert_eq!(round_trip(&Tensor::scalar(bf16::from_f32(1.5))), Tensor::scalar(1.5f32));
    }

    /// An `.npy` file as numpy would write it.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16 + 1).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.push(b'\n');
        bytes.extend(data);
        bytes
    }

    #[test]
    fn other_orders_and_other_machines_are_read() {
        let fortran = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
        let t = decode(&file(fortran, &[1, 4, 2, 5, 3, 6])).unwrap();
        assert_eq!(t, Tensor::from_vec(vec![2, 3], vec![1u8, 2, 3, 4, 5, 6]).unwrap());
        let big = "{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(decode(&file(big, &[1, 2, 0, 3])).unwrap(), Tensor::vector(vec![258i16, 3]));
        let raw = "{'descr': '<V2', 'fortran_order': False, 'shape': (1,), }";
        assert_eq!(decode(&file(raw, &[0x80, 0x3f])).unwrap(), Tensor::vector(vec![bf16::ONE]));
    }

    #[test]
    fn bad_files_are_refused_with_the_reason() {
        let header = |descr: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
        };
        let message = |h: &str, data: &[u8]| decode(&file(h, data)).unwrap_err();
        assert_eq!(message(&header("<f4", "(2, 3)"), &[0; 20]), "f32[2, 3] takes 24 bytes, 20 are there");
        assert_eq!(message(&header("<c8", "(1,)"), &[0; 8]), "elements of dtype '<c8' are not supported");
        assert_eq!(message(&header("|O", "(1,)"), &[0; 8]), "elements of dtype '|O' are not supported");
        let huge = header("<f4", "(9999999999, 9999999999)");
        assert_eq!(message(&huge, &[]), "the shape is too large");
        for (bracket, most) in [("(", MOST_BRACKETS), ("[", MOST_BRACKETS), ("{", MOST_BRACES)] {
            for times in [most + 1, 31, 9999] {
                assert_eq!(message(&bracket.repeat(times), &[]), "the header is too complex");
            }
            assert!(message(&bracket.repeat(most), &[]).starts_with("not an .npy file: "));
        }
        assert!(message("{'descr': 3", &[]).starts_with("not an .npy file: "));
        assert_eq!(decode(b"PK").unwrap_err(), "not an .npy file");
        assert_eq!(decode(b"\x93NUMPY\x01\x00\xff\xff{").unwrap_err(), "the file ends within its header");
    }

    #[test]
    fn archives_hold_arrays_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let (x, y) = (Tensor::vector(vec![1f32, 2.0]), Tensor::scalar(3i64));
        write_npz(&path, [("x", &x), ("a/y", &y)]).unwrap();
        let mut npz = Npz::open(&path).unwrap();
        assert_eq!(npz.names(), ["x", "a/y"]);
        assert_eq!(npz.get("a/y").unwrap().unwrap(), y);
        assert_eq!(npz.get("x").unwrap().unwrap(), x);
        assert!(npz.get("z").unwrap().is_none());
        std::fs::write(&path, b"no archive").unwrap();
        assert!(Npz::open(&path).err().unwrap().to_string().contains("not an .npz file"));
    }
}
