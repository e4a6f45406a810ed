//! Cases that Trine does not take: each is refused by an error that is the model's fault, or for data that no tensor can be.
//! None panics, none gives an output, and none is Trine's own fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use trine::import::{ImportError, import_bytes};
use trine::{Error, Fault, Module, Options};

use crate::caught::caught;
use crate::mode::Mode;
use crate::{CASES, case};

/// Cases with data that are not among those that are to pass, in order.
pub fn cases(data: &Path) -> Vec<String> {
    let list = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|e| e.path().join("test_data_set_0").is_dir())
            .map(|e| e.file_name())
            .map(|n| n.to_string_lossy().into())
            .collect()
    };
    let folders = fs::read_dir(data).into_iter().flatten().flatten().map(|e| e.file_name());
    let folders: Vec<String> = folders.map(|n| n.to_string_lossy().into()).collect();
    let all = folders.iter().flat_map(|f| list(&data.join(f)).into_iter().map(move |c| format!("{f}/{c}")));
    let known: BTreeSet<&str> = CASES.lines().collect();
    let mut refused: Vec<String> = all.filter(|c| !known.contains(c.as_str())).collect();
    refused.sort();
    refused
}

/// Why the case is not taken: `None` if it is. A panic, or a fault of Trine, is a failure.
pub fn reason(data: &Path, name: &str) -> Result<Option<String>, String> {
    caught(|| {
        let model = case::model(data, name)?;
        match import_bytes(Bytes::from(model.encode_to_vec()), Some(&data.join(name))) {
            Err(error @ ImportError::Verify(_)) => return Err(format!("Trine's own fault: {error}")),
            Err(error) => return Ok(Some(error.to_string())),
            Ok(module) => match compiled(module) {
                Err(error) if error.fault() == Fault::Trine => {
                    return Err(format!("Trine's own fault: {error}"));
                }
                Err(error) => return Ok(Some(error.to_string())),
                Ok(()) => {}
            },
        }
        let run = case::load(data, name).and_then(|case| Mode::Jit.run(&case));
        Ok(run.err())
    })
}

fn compiled(mut module: Module) -> Result<(), Error> {
    trine::optimize(&mut module, &Options::default())?;
    Ok(trine::build_program(module, &Options::default()).map(drop)?)
}
