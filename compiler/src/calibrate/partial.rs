//! What an interrupted run has done: a file a layer, in a folder that belongs to one model, one set of data and one
//! set of options, as a digest of all of them says.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use trine_ir::{Module, Tensor, text};

use trine_formats::disk::{FileError, write_atomically};
use trine_formats::npz::{Npz, write_npz};
use trine_ternarize::{Alphabet, Matrix, Plane, Quantized};

use super::layers::Linear;
use super::{CalibrateError, CalibrateOptions, Data, Int8, Rounded, Weights};

/// The folder of a run.
pub struct Partial {
    folder: PathBuf,
}

impl Partial {
    /// The folder, made if need be; refused if it is another run's.
    pub fn open(
        folder: &Path,
        module: &Module,
        data: &Data,
        options: &CalibrateOptions,
    ) -> Result<Partial, CalibrateError> {
        let fail = |source| FileError::write(folder, source);
        std::fs::create_dir_all(folder).map_err(fail)?;
        let digest = digest(module, data, options);
        let path = folder.join("digest");
        match std::fs::read_to_string(&path) {
            Ok(found) if found == digest => {}
            Ok(_) => return Err(CalibrateError::OtherRun(folder.into())),
            Err(_) => write_atomically(&path, |file| std::io::Write::write_all(file, digest.as_bytes()))?,
        }
        Ok(Partial { folder: folder.into() })
    }

    /// Layer `index`, if it was saved.
    pub fn load(&self, index: usize, layer: &Linear) -> Result<Option<Rounded>, CalibrateError> {
        let path = self.path(index);
        if !path.exists() {
            return Ok(None);
        }
        let mut file = File { npz: Npz::open(&path)?, path };
        let numbers = file.f64s("numbers")?;
        let &[weight_error, output_error, held_out_error, seconds] = &numbers[..] else {
            return Err(file.broken("numbers"));
        };
        let some = |v: f64| Some(v).filter(|v| !v.is_nan());
        Ok(Some(Rounded {
            output: layer.output,
            function: layer.functions[0].clone(),
            name: layer.weights.clone(),
            node: layer.node.clone(),
            op_type: layer.op_type.clone(),
            n: layer.n,
            k: layer.k,
            weights: file.weights(layer)?,
            weight_error,
            output_error: some(output_error),
            held_out_error: some(held_out_error),
            seconds,
        }))
    }

    /// Keeps layer `index`.
    pub fn save(&self, index: usize, layer: &Rounded) -> Result<(), CalibrateError> {
        let or_nan = |v: Option<f64>| v.unwrap_or(f64::NAN);
        let numbers =
            vec![layer.weight_error, or_nan(layer.output_error), or_nan(layer.held_out_error), layer.seconds];
        let mut arrays = vec![("numbers".to_string(), Tensor::vector(numbers))];
        match &layer.weights {
            Weights::Kept(matrix) => arrays.push(("kept".into(), Tensor::vector(matrix.values.clone()))),
            Weights::Int8(int8) => {
                arrays.push(("codes".into(), Tensor::vector(int8.codes.clone())));
                arrays.push(("scales".into(), Tensor::vector(int8.scales.clone())));
            }
            Weights::Planes(planes) => {
                let mut floats = |name: &str, values: &Option<Vec<f32>>| {
                    arrays.extend(values.clone().map(|v| (name.to_string(), Tensor::vector(v))));
                };
                floats("bias", &planes.bias);
                floats("columns", &planes.column_scale);
                for (i, plane) in planes.planes.iter().enumerate() {
                    floats(&format!("{i}.scales"), &Some(plane.scales.clone()));
                    floats(&format!("{i}.offset"), &plane.offset);
                }
                for (i, plane) in planes.planes.iter().enumerate() {
                    let kind = ALPHABETS.iter().position(|a| *a == plane.alphabet).unwrap_or(0);
                    let shape = vec![kind as i64, plane.group as i64];
                    arrays.push((format!("{i}.shape"), Tensor::vector(shape)));
                    arrays.push((format!("{i}.trits"), Tensor::vector(plane.trits.clone())));
                }
            }
        }
        Ok(write_npz(self.path(index), arrays.iter().map(|(name, tensor)| (name.as_str(), tensor)))?)
    }

    fn path(&self, index: usize) -> PathBuf {
        self.folder.join(format!("{index:04}.npz"))
    }
}

const ALPHABETS: [Alphabet; 3] = [Alphabet::Ternary, Alphabet::Binary, Alphabet::Magnitude];

struct File {
    npz: Npz,
    path: PathBuf,
}

impl File {
    fn weights(&mut self, layer: &Linear) -> Result<Weights, CalibrateError> {
        let (n, k) = (layer.n, layer.k);
        if let Some(values) = self.f32s("kept")? {
            let values = self.sized("kept", values, n * k)?;
            return Ok(Weights::Kept(Matrix { n, k, values }));
        }
        if let Some(codes) = self.i8s("codes")? {
            let scales = self.f32s("scales")?.ok_or_else(|| self.broken("scales"))?;
            let (codes, scales) = (self.sized("codes", codes, n * k)?, self.sized("scales", scales, n)?);
            return Ok(Weights::Int8(Int8 { n, k, codes, scales }));
        }
        let mut planes = vec![];
        while let Some(trits) = self.i8s(&format!("{}.trits", planes.len()))? {
            let i = planes.len();
            let shape = self.i64s(&format!("{i}.shape"))?;
            let &[kind, group] = &shape[..] else { return Err(self.broken("shape")) };
            let alphabet = *ALPHABETS.get(kind as usize).ok_or_else(|| self.broken("shape"))?;
            let group = usize::try_from(group).ok().filter(|g| *g > 0).ok_or_else(|| self.broken("shape"))?;
            let cells = n * trine_ir::ops::groups(k, group);
            let scales = self.f32s(&format!("{i}.scales"))?.ok_or_else(|| self.broken("scales"))?;
            let offset = self.f32s(&format!("{i}.offset"))?;
            planes.push(Plane {
                alphabet,
                group,
                trits: self.sized("trits", trits, n * k)?,
                scales: self.sized("scales", scales, cells)?,
                offset: offset.map(|o| self.sized("offset", o, cells)).transpose()?,
            });
        }
        let bias = self.f32s("bias")?.map(|b| self.sized("bias", b, n)).transpose()?;
        let column_scale = self.f32s("columns")?.map(|c| self.sized("columns", c, k)).transpose()?;
        Ok(Weights::Planes(Quantized { n, k, planes, bias, column_scale }))
    }

    fn f32s(&mut self, name: &str) -> Result<Option<Vec<f32>>, CalibrateError> {
        let tensor = self.npz.get(name)?;
        tensor.map(|t| t.values().map(|v| v.into_owned()).map_err(|_| self.broken(name))).transpose()
    }

    fn i8s(&mut self, name: &str) -> Result<Option<Vec<i8>>, CalibrateError> {
        let tensor = self.npz.get(name)?;
        tensor.map(|t| t.values().map(|v| v.into_owned()).map_err(|_| self.broken(name))).transpose()
    }

    fn i64s(&mut self, name: &str) -> Result<Vec<i64>, CalibrateError> {
        let tensor = self.npz.get(name)?.ok_or_else(|| self.broken(name))?;
        Ok(tensor.values().map_err(|_| self.broken(name))?.into_owned())
    }

    fn f64s(&mut self, name: &str) -> Result<Vec<f64>, CalibrateError> {
        let tensor = self.npz.get(name)?.ok_or_else(|| self.broken(name))?;
        Ok(tensor.values().map_err(|_| self.broken(name))?.into_owned())
    }

    fn sized<T>(&self, name: &str, values: Vec<T>, count: usize) -> Result<Vec<T>, CalibrateError> {
        if values.len() == count { Ok(values) } else { Err(self.broken(name)) }
    }

    fn broken(&self, name: &str) -> CalibrateError {
        let message = format!("array `{name}` is not what a run writes; remove the folder to start again");
        trine_formats::npz::ArrayError::Format { path: self.path.clone(), message }.into()
    }
}

/// A number that other models, data or options do not have, as text.
fn digest(module: &Module, data: &Data, options: &CalibrateOptions) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(text::print(module).as_bytes());
    for tensor in module.consts.values().chain(data.batches.iter().flatten()) {
        hasher.write(tensor.bytes());
    }
    hasher.write_usize(data.held_out);
    let CalibrateOptions { recipe, bits, keep, max_error, seed, .. } = options;
    hasher.write(format!("{recipe} {bits:?} {keep:?} {max_error:?} {seed}").as_bytes());
    format!("{:016x}\n", hasher.finish())
}
