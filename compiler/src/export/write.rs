//! `model.onnx`, and the tensors that are too large for it in `model.onnx.data`.

use std::io::Write;
use std::path::Path;

use prost::Message;

use super::ExportError;
use trine_formats::disk::write_atomically;
use trine_formats::import::proto::tensor_proto::DataLocation;
use trine_formats::import::proto::{ModelProto, StringStringEntryProto};

/// Bytes from which a tensor lies in the file beside the model.
const LARGE: usize = 1024;

/// Tensors start at multiples of this, so that they can be mapped.
const ALIGN: usize = 4096;

const MODEL: &str = "model.onnx";
const DATA: &str = "model.onnx.data";

pub fn write(mut model: ModelProto, folder: &Path) -> Result<(), ExportError> {
    let mut large = vec![];
    let mut offset = 0usize;
    let graph = model.graph.iter_mut();
    for tensor in graph.flat_map(|g| &mut g.initializer) {
        let Some(data) = tensor.raw_data.take_if(|data| data.len() >= LARGE) else { continue };
        offset = offset.next_multiple_of(ALIGN);
        let entry =
            |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        tensor.external_data = vec![
            entry("location", DATA.into()),
            entry("offset", offset.to_string()),
            entry("length", data.len().to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
        let start = offset;
        offset += data.len();
        large.push((start, data));
    }
    if !large.is_empty() {
        write_atomically(&folder.join(DATA), |file| {
            let mut at = 0;
            for (start, data) in &large {
                file.write_all(&vec![0; start - at])?;
                file.write_all(data)?;
                at = start + data.len();
            }
            Ok(())
        })?;
    }
    Ok(write_atomically(&folder.join(MODEL), |file| file.write_all(&model.encode_to_vec()))?)
}
