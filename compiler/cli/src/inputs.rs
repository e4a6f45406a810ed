//! Arrays from files to the inputs of a model, by name.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use trine::npz::{Npz, read_npy};
use trine::{Error, Tensor};
use trine_ir::{Elem, Type};

use super::args::suggest;
use super::failure::{Failure, warn};

/// Where arrays come from: `FILE.npz`, `FILE.pb`, `NAME=FILE.npy`, `NAME=FILE.pb` or `NAME=FILE.npz:ARRAY`.
#[derive(Clone, Debug)]
pub struct Source {
    name: Option<String>,
    path: PathBuf,
    /// The one array of an `.npz` that is meant.
    array: Option<String>,
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) if !Path::new(text).exists() => (Some(name.to_string()), path),
            _ => (None, text),
        };
        let (path, array) = match path.split_once(".npz:") {
            Some((stem, array)) => (PathBuf::from(format!("{stem}.npz")), Some(array.to_string())),
            None => (PathBuf::from(path), None),
        };
        let shown = path.display();
        match (path.extension().and_then(|e| e.to_str()), &name, &array) {
            (Some("npz"), None, None) | (Some("pb"), _, None) | (Some("npy"), Some(_), None) => {}
            (Some("npz"), Some(_), Some(_)) => {}
            (Some("npy"), None, _) => return Err(format!("say which input it is: NAME={shown}")),
            (Some("npz"), Some(name), None) => {
                return Err(format!("say which array it is: {name}={shown}:ARRAY"));
            }
            (Some("npz"), None, Some(array)) => {
                return Err(format!("say which input it is: NAME={shown}:{array}"));
            }
            _ => return Err("expected FILE.npz, NAME=FILE.npy, NAME=FILE.pb or NAME=FILE.npz:ARRAY".into()),
        }
        Ok(Source { name, path, array })
    }
}

/// The inputs that arrays are given for though the model has initializers for them.
pub fn fed(model: &Path, sources: &[Source]) -> Result<Vec<String>, Failure> {
    let mut names = vec![];
    for source in sources {
        names.extend(source.names()?);
    }
    defaults_among(model, &names)
}

/// Those of `names` that are inputs for which the model has initializers.
pub fn defaults_among(model: &Path, names: &[String]) -> Result<Vec<String>, Failure> {
    if names.is_empty() || model.extension().is_none_or(|e| e != "onnx") {
        return Ok(vec![]);
    }
    let defaults = trine::import::defaults(model)
        .map_err(|source| Error::Import { path: model.into(), source: Box::new(source) })?;
    Ok(defaults.into_iter().filter(|name| names.contains(name)).collect())
}

/// Reads the inputs of a model, of the given names and types, in their order.
pub fn read(sources: &[Source], inputs: &[(&str, &Type)]) -> Result<Vec<Tensor>, Failure> {
    let given = read_given(sources, inputs)?;
    let missing: Vec<_> = inputs.iter().zip(&given).filter(|(_, g)| g.is_none()).map(|(i, _)| i).collect();
    if !missing.is_empty() {
        let list: Vec<_> = missing.iter().map(|(n, ty)| format!("`{}`: {ty}", n.escape_debug())).collect();
        let what = if missing.len() == 1 { "an input is" } else { "inputs are" };
        return Err(Failure::usage(
            format!("{what} missing: {}", list.join(", ")),
            "give arrays by name: -i FILE.npz (as numpy.savez writes it), -i NAME=FILE.npy, -i NAME=FILE.pb or \
             -i NAME=FILE.npz:ARRAY",
        ));
    }
    Ok(given.into_iter().flatten().collect())
}

/// Reads those inputs of a model that there are arrays for.
pub fn read_given(sources: &[Source], inputs: &[(&str, &Type)]) -> Result<Vec<Option<Tensor>>, Failure> {
    let names: Vec<_> = inputs.iter().map(|(name, _)| *name).collect();
    let mut found: IndexMap<String, Tensor> = IndexMap::new();
    for source in sources {
        for (name, tensor) in source.read(&names)? {
            if found.insert(name.clone(), tensor).is_some() {
                return Err(Failure::usage(format!("input `{}` is given twice", name.escape_debug()), ""));
            }
        }
    }
    inputs.iter().map(|(name, ty)| found.get(*name).map(|t| fit(name, ty, t)).transpose()).collect()
}

/// Reads the inputs of a model from one archive: arrays of their names, or `x` for the only input.
pub fn read_named(path: &Path, npz: &mut Npz, inputs: &[(&str, &Type)]) -> Result<Vec<Tensor>, Failure> {
    let only = if inputs.len() == 1 { Some("x") } else { None };
    let mut tensors = vec![];
    for (name, ty) in inputs {
        let array = [Some(*name), only].into_iter().flatten().find(|n| npz.names().iter().any(|a| a == n));
        match array.map(|n| npz.get(n)).transpose()?.flatten() {
            Some(tensor) => tensors.push(fit(name, ty, &tensor)?),
            None => {
                let message =
                    format!("`{}` has no array for input `{}`: {ty}", path.display(), name.escape_debug());
                return Err(Failure::input(message, format!("it has {}", list(npz.names()))));
            }
        }
    }
    Ok(tensors)
}

impl Source {
    /// The names of the arrays, as far as they are said.
    fn names(&self) -> Result<Vec<String>, Failure> {
        match (&self.name, self.path.extension().and_then(|e| e.to_str())) {
            (Some(name), _) => Ok(vec![name.clone()]),
            (None, Some("npz")) => Ok(Npz::open(&self.path)?.names().to_vec()),
            (None, _) => Ok(read_pb(&self.path)?.0.into_iter().collect()),
        }
    }

    /// The arrays of the file that are inputs. Others that are in an archive are reported.
    fn read(&self, inputs: &[&str]) -> Result<Vec<(String, Tensor)>, Failure> {
        match self.path.extension().and_then(|e| e.to_str()) {
            Some("npz") => self.read_npz(inputs),
            Some("npy") => Ok(vec![(self.input(inputs, self.name.as_deref())?, read_npy(&self.path)?)]),
            _ => {
                let (name, tensor) = read_pb(&self.path)?;
                Ok(vec![(self.input(inputs, self.name.as_deref().or(name.as_deref()))?, tensor)])
            }
        }
    }

    fn read_npz(&self, inputs: &[&str]) -> Result<Vec<(String, Tensor)>, Failure> {
        let mut npz = Npz::open(&self.path)?;
        if let Some(array) = &self.array {
            let input = self.input(inputs, self.name.as_deref())?;
            return match npz.get(array)? {
                Some(tensor) => Ok(vec![(input, tensor)]),
                None => {
                    let message =
                        format!("`{}` has no array `{}`", self.path.display(), array.escape_debug());
                    Err(Failure::input(message, format!("the file has {}", list(npz.names()))))
                }
            };
        }
        let names: Vec<_> = npz.names().iter().filter(|n| inputs.contains(&n.as_str())).cloned().collect();
        if names.is_empty() && !inputs.is_empty() {
            let message = format!("no array of `{}` is an input of the model", self.path.display());
            let help = format!(
                "the file has {}; the inputs are {} (-i NAME={}:ARRAY joins them)",
                list(npz.names()),
                list(inputs),
                self.path.display()
            );
            return Err(Failure::input(message, help));
        }
        let unasked: Vec<_> = npz.names().iter().filter(|n| !inputs.contains(&n.as_str())).collect();
        if !unasked.is_empty() {
            let what = if unasked.len() == 1 {
                "an array that is not an input"
            } else {
                "arrays that are not inputs"
            };
            warn(format!("`{}` has {what} of the model: {}", self.path.display(), list(&unasked)));
        }
        let mut arrays = vec![];
        for name in names {
            let tensor = npz.get(&name)?;
            arrays.extend(tensor.map(|t| (name, t)));
        }
        Ok(arrays)
    }

    /// The input that is meant; the only one when the file does not say.
    fn input(&self, inputs: &[&str], name: Option<&str>) -> Result<String, Failure> {
        match (name, inputs) {
            (Some(name), _) if inputs.contains(&name) => Ok(name.into()),
            (None, [only]) => Ok(only.to_string()),
            (None, _) => {
                let message = format!("`{}` does not say which input it is", self.path.display());
                Err(Failure::usage(
                    message,
                    format!("write NAME={}; the inputs are {}", self.path.display(), list(inputs)),
                ))
            }
            (Some(name), _) => {
                let message = format!("the model has no input `{}`", name.escape_debug());
                let help = match suggest(name, inputs) {
                    Some(near) => format!("did you mean `{near}`? The inputs are {}", list(inputs)),
                    None => format!("the inputs are {}", list(inputs)),
                };
                Err(Failure::usage(message, help))
            }
        }
    }
}

/// A tensor as the test data of ONNX models has it, and its name if it has one.
fn read_pb(path: &Path) -> Result<(Option<String>, Tensor), Failure> {
    let bytes = std::fs::read(path).map_err(|e| trine::FileError::read(path, e))?;
    trine::import::tensor_file(bytes)
        .map_err(|e| Failure::input(format!("`{}` is not an ONNX tensor: {e}", path.display()), ""))
}

/// The tensor as the input wants it: integers in another width where every value fits, and bf16 from f32,
/// as numpy lacks it. Anything else is for the session to accept or refuse.
fn fit(name: &str, ty: &Type, tensor: &Tensor) -> Result<Tensor, Failure> {
    if ty.elem == tensor.elem() {
        return Ok(tensor.clone());
    }
    if let Some(fitted) = convert(tensor, ty.elem) {
        return Ok(fitted);
    }
    let message = format!("input `{}` is {ty}, got {}", name.escape_debug(), tensor.ty());
    let help = match numpy_name(ty.elem) {
        Some(dtype) => format!("convert it with `.astype(\"{dtype}\")` in numpy"),
        None => String::new(),
    };
    Err(Failure::input(message, help))
}

fn convert(tensor: &Tensor, to: Elem) -> Option<Tensor> {
    let dims = tensor.dims().to_vec();
    if to == Elem::Bf16 && tensor.elem() == Elem::F32 {
        let values = tensor.values::<f32>().ok()?;
        let narrow: Vec<_> = values.iter().map(|v| half::bf16::from_f32(*v)).collect();
        let exact = narrow.iter().zip(values.iter()).all(|(n, v)| n.to_f32().to_bits() == v.to_bits());
        return exact.then(|| Tensor::from_vec(dims, narrow).ok())?;
    }
    if !to.is_int() || !tensor.elem().is_int() {
        return None;
    }
    let values = integers(tensor)?;
    macro_rules! narrow {
        ($($elem:ident = $t:ty),*) => { match to {
            $(Elem::$elem => {
                let values: Option<Vec<$t>> = values.iter().map(|v| <$t>::try_from(*v).ok()).collect();
                Tensor::from_vec(dims, values?).ok()
            })*
            _ => {
                let bits = to.bits() as u32;
                let range = if to.is_signed() { -(1i128 << (bits - 1))..1 << (bits - 1) } else { 0..1 << bits };
                let fits = values.iter().all(|v| range.contains(v));
                let bytes: Vec<u8> = values.iter().map(|v| *v as u8).collect();
                fits.then(|| Tensor::pack(to, dims, &bytes).ok())?
            }
        } };
    }
    narrow! { I8 = i8, I16 = i16, I32 = i32, I64 = i64, U8 = u8, U16 = u16, U32 = u32, U64 = u64 }
}

/// The labels of examples, array `name` of an open file; what cannot be one is -1.
pub fn labels(path: &Path, npz: &mut Npz, name: &str) -> Result<Vec<i64>, Failure> {
    let Some(tensor) = npz.get(name)? else {
        let message = format!("`{}` has no array `{}` of labels", path.display(), name.escape_debug());
        let names: Vec<&str> = npz.names().iter().map(String::as_str).collect();
        return Err(Failure::input(message, format!("it has {}; --labels says which", names.join(", "))));
    };
    let Some(labels) = integers(&tensor) else {
        let message = format!("labels are integers, `{}` is {}", name.escape_debug(), tensor.ty());
        return Err(Failure::input(message, "convert them with `.astype(\"int64\")` in numpy"));
    };
    Ok(labels.iter().map(|v| i64::try_from(*v).unwrap_or(-1)).collect())
}

/// The elements of a tensor of integers.
pub fn integers(tensor: &Tensor) -> Option<Vec<i128>> {
    macro_rules! widen {
        ($($elem:ident = $t:ty),*) => { match tensor.elem() {
            $(Elem::$elem => Some(tensor.values::<$t>().ok()?.iter().map(|v| i128::from(*v)).collect()),)*
            elem if elem.is_int() => {
                let bytes = tensor.unpacked().ok()?;
                Some(bytes.iter().map(|b| if elem.is_signed() { i128::from(*b as i8) } else { i128::from(*b) }).collect())
            }
            _ => None,
        } };
    }
    widen! { I8 = i8, I16 = i16, I32 = i32, I64 = i64, U8 = u8, U16 = u16, U32 = u32, U64 = u64 }
}

fn numpy_name(elem: Elem) -> Option<&'static str> {
    Some(match elem {
        Elem::F32 => "float32",
        Elem::F64 => "float64",
        Elem::F16 => "float16",
        Elem::I8 => "int8",
        Elem::I16 => "int16",
        Elem::I32 => "int32",
        Elem::I64 => "int64",
        Elem::U8 => "uint8",
        Elem::U16 => "uint16",
        Elem::U32 => "uint32",
        Elem::U64 => "uint64",
        Elem::Bool => "bool",
        _ => return None,
    })
}

fn list(names: &[impl AsRef<str>]) -> String {
    match names {
        [] => "nothing".into(),
        names => {
            names.iter().map(|n| format!("`{}`", n.as_ref().escape_debug())).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_say_what_they_lack() {
        let source: Source = "x=a.npy".parse().unwrap();
        assert_eq!(source.name.as_deref(), Some("x"));
        assert_eq!("a.npy".parse::<Source>().unwrap_err(), "say which input it is: NAME=a.npy");
        assert!("a.txt".parse::<Source>().is_err());
        assert_eq!("x=a.npz".parse::<Source>().unwrap_err(), "say which array it is: x=a.npz:ARRAY");
        let source: Source = "x=a.npz:mlp.x".parse().unwrap();
        assert_eq!((source.path, source.array.as_deref()), (PathBuf::from("a.npz"), Some("mlp.x")));
    }

    #[test]
    fn integers_change_width_where_values_fit() {
        let t = Tensor::vector(vec![1i64, -2, 127]);
        assert_eq!(convert(&t, Elem::I8).unwrap(), Tensor::vector(vec![1i8, -2, 127]));
        assert!(convert(&t, Elem::U64).is_none());
        assert!(convert(&t, Elem::I4).is_none());
        assert!(convert(&t, Elem::F32).is_none());
        let narrow = convert(&Tensor::vector(vec![7u8, 0]), Elem::U4).unwrap();
        assert_eq!(&*narrow.unpacked().unwrap(), &[7, 0]);
        let real = Tensor::vector(vec![1.5f32]);
        assert_eq!(convert(&real, Elem::Bf16).unwrap(), Tensor::vector(vec![half::bf16::from_f32(1.5)]));
        assert!(convert(&Tensor::vector(vec![0.1f32]), Elem::Bf16).is_none());
    }
}
