//! What was measured, in a file that compilations share: a choice for each CPU and shape of layer.
//!
//! ```json
//! {"CPU": {"SHAPE": {"kernel": "signsum_i8_avx2_2bit_32", "gain": 1.0}}}
//! ```

use std::env;
use std::io::ErrorKind;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use trine_ukernel::Features;

use crate::disk::write_text;

/// The choice for a shape.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The microkernel, by its name.
    pub kernel: String,
    /// How many times as fast it is as what would be chosen unmeasured.
    pub gain: f64,
}

type Known = IndexMap<String, IndexMap<String, Outcome>>;

pub struct Cache {
    path: Option<PathBuf>,
    cpu: String,
    known: Known,
}

impl Cache {
    /// What is known in `folder`. A file that is none of ours is as good as none, and is told to `note`.
    pub fn open(folder: Option<PathBuf>, cpu: String, note: &mut dyn FnMut(String)) -> Cache {
        let path = folder.map(|folder| folder.join("autotune.json"));
        let mut known = Known::default();
        if let Some(path) = &path {
            match std::fs::read_to_string(path) {
                Ok(text) => match parse(&text) {
                    Some(read) => known = read,
                    None => {
                        note(format!("`{}` is not what autotuning wrote; it is made anew", path.display()))
                    }
                },
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => note(format!("cannot read `{}`: {error}", path.display())),
            }
        }
        Cache { path, cpu, known }
    }

    pub fn get(&self, shape: &str) -> Option<&Outcome> {
        self.known.get(&self.cpu)?.get(shape)
    }

    pub fn insert(&mut self, shape: String, outcome: Outcome) {
        self.known.entry(self.cpu.clone()).or_default().insert(shape, outcome);
    }

    /// Writes the file; that there is none costs time, and is told to `note`.
    pub fn save(&self, note: &mut dyn FnMut(String)) {
        let Some(path) = &self.path else {
            return note("there is no folder to remember it in: TRINE_CACHE names one".into());
        };
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder.map_err(|e| format!("cannot write `{}`: {e}", path.display()));
        if let Err(message) = written.and_then(|()| write_text(path, &self.text()).map_err(|e| e.to_string()))
        {
            note(message);
        }
    }

    fn text(&self) -> String {
        let outcome = |o: &Outcome| json!({"kernel": o.kernel, "gain": o.gain});
        let shapes = |shapes: &IndexMap<String, Outcome>| -> Map<String, Value> {
            shapes.iter().map(|(shape, o)| (shape.clone(), outcome(o))).collect()
        };
        let all: Map<String, Value> =
            self.known.iter().map(|(cpu, known)| (cpu.clone(), shapes(known).into())).collect();
        format!("{:#}\n", Value::from(all))
    }
}

fn parse(text: &str) -> Option<Known> {
    let outcome = |value: &Value| {
        Some(Outcome { kernel: value.get("kernel")?.as_str()?.into(), gain: value.get("gain")?.as_f64()? })
    };
    let shapes = |shapes: &Value| -> Option<IndexMap<_, _>> {
        let shapes = shapes.as_object()?.iter();
        shapes.map(|(shape, value)| Some((shape.clone(), outcome(value)?))).collect()
    };
    let all: Value = serde_json::from_str(text).ok()?;
    all.as_object()?.iter().map(|(cpu, known)| Some((cpu.clone(), shapes(known)?))).collect()
}

/// The processor, what code may use of it, and whose microkernels these are.
pub fn cpu(features: Features) -> String {
    format!("{}, {features}, trine {}", model(), env!("CARGO_PKG_VERSION"))
}

/// Vendor, family and model.
#[cfg(target_arch = "x86_64")]
fn model() -> String {
    use std::arch::x86_64::__cpuid;
    let vendor = __cpuid(0);
    let vendor = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat();
    // The low bits are the stepping.
    format!("{} {:x}", String::from_utf8_lossy(&vendor), __cpuid(1).eax >> 4)
}

#[cfg(not(target_arch = "x86_64"))]
fn model() -> String {
    env::consts::ARCH.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_back_and_other_files_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let open = |cpu: &str| {
            let mut notes = vec![];
            let cache = Cache::open(Some(folder.path().join("new")), cpu.into(), &mut |n| notes.push(n));
            (cache, notes)
        };
        let outcome = Outcome { kernel: "f".into(), gain: 1.25 };
        let (mut cache, notes) = open("this");
        assert_eq!((cache.get("shape"), notes.len()), (None, 0));
        cache.insert("shape".into(), outcome.clone());
        cache.save(&mut |note| panic!("{note}"));
        assert_eq!(open("this").0.get("shape"), Some(&outcome));
        assert_eq!(open("that").0.get("shape"), None);
        let path = folder.path().join("new/autotune.json");
        for foreign in ["{", "[]", r#"{"this": {"shape": {"kernel": 3}}}"#] {
            std::fs::write(&path, foreign).unwrap();
            let (mut cache, notes) = open("this");
            assert!(notes.len() == 1 && notes[0].contains("is not what autotuning wrote"), "{notes:?}");
            cache.insert("shape".into(), outcome.clone());
            cache.save(&mut |note| panic!("{note}"));
            assert_eq!(open("this").0.get("shape"), Some(&outcome));
        }
        // A file where the folder should be.
        let cache = Cache::open(Some(path.join("in")), "this".into(), &mut |_| ());
        let mut notes = vec![];
        cache.save(&mut |n| notes.push(n));
        assert!(notes[0].starts_with("cannot write"), "{notes:?}");
    }
}
