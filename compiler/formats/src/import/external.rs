//! Tensor data in files beside the model. A model may only name files inside its own folder.
//!
//! In the cache of a model hub, a model's folder holds links into a folder of blobs that stands beside it: there a link
//! may lead to the blobs.

use std::cell::RefCell;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::error::ImportError;
use super::proto::tensor_proto::DataLocation;
use super::proto::{GraphProto, TensorProto};
use crate::disk::map::Mapped;

/// The files that a model's tensors lie in; each is mapped once.
pub(super) struct Files {
    folder: Option<PathBuf>,
    open: RefCell<FxHashMap<PathBuf, Mapped>>,
}

impl Files {
    /// Files in `folder`, or none at all.
    pub fn new(folder: Option<&Path>) -> Files {
        Files { folder: folder.map(Path::to_path_buf), open: RefCell::default() }
    }

    /// The data that the `external_data` entries of a tensor name.
    pub fn data(&self, tensor: &TensorProto) -> Result<Bytes, ImportError> {
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value());
        let location = entry("location").unwrap_or_default();
        let fail = |message: String| ImportError::External {
            tensor: tensor.name().into(),
            location: location.into(),
            message,
        };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| fail(format!("{key} `{}` is not a number of bytes", text.escape_debug()))),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0u64), number("length")?);
        let file = self.file(location).map_err(&fail)?;
        let size = file.len() as u64;
        let end = length.map_or(Some(size), |length: u64| offset.checked_add(length));
        match end {
            Some(end) if offset <= end && end <= size => Ok(file.slice(offset as usize..end as usize)),
            _ => {
                let length = length.map_or("the rest".into(), |l| format!("{l} bytes"));
                Err(fail(format!("{length} at offset {offset} lie outside of the file's {size} bytes")))
            }
        }
    }

    /// The files that tensors were found in.
    pub fn into_mapped(self) -> impl Iterator<Item = Mapped> {
        self.open.into_inner().into_values()
    }

    fn file(&self, location: &str) -> Result<Bytes, String> {
        let folder = self.folder.as_deref().ok_or("the model has no folder to look in")?;
        let path = resolve(folder, location)?;
        if let Some(file) = self.open.borrow().get(&path) {
            return Ok(file.bytes.clone());
        }
        let file = Mapped::open(&path).map_err(|e| e.to_string())?;
        let bytes = file.bytes.clone();
        self.open.borrow_mut().insert(path, file);
        Ok(bytes)
    }
}

/// Puts the data of a graph's tensors, those inside of its nodes among them, into the tensors.
pub(super) fn take_in(graph: &mut GraphProto, files: &Files) -> Result<(), ImportError> {
    let take = |tensor: &mut TensorProto| {
        if tensor.data_location() == DataLocation::External {
            tensor.raw_data = Some(files.data(tensor)?);
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        Ok::<(), ImportError>(())
    };
    graph.initializer.iter_mut().try_for_each(take)?;
    for attribute in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(take)?;
        let mut graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
        graphs.try_for_each(|graph| take_in(graph, files))?;
    }
    Ok(())
}

/// Where a link leads that a file system without links holds as text, as git writes it there: to a blob of the hub's cache
/// that the file is in.
pub(super) fn followed(path: &Path) -> Option<PathBuf> {
    const LONGEST: u64 = 255;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty())?.canonicalize().ok()?;
    path.metadata().ok().filter(|m| m.is_file() && m.len() <= LONGEST)?;
    let text = std::fs::read_to_string(path).ok().filter(|text| text.starts_with("../"))?;
    let target = folder.join(text.trim_end()).canonicalize().ok()?;
    is_blob(&folder, &target).then_some(target)
}

/// Whether a file lies in the blobs of the hub's cache that a folder is a snapshot in: `CACHE/blobs/NAME` beside
/// `CACHE/snapshots/REVISION/…`. What else a cache holds is not the model's.
fn is_blob(folder: &Path, path: &Path) -> bool {
    let cache = folder.ancestors().find(|a| a.file_name().is_some_and(|n| n == "snapshots"));
    let cache = cache.filter(|snapshots| *snapshots != folder).and_then(Path::parent);
    cache.is_some_and(|cache| path.parent() == Some(&cache.join("blobs")))
}

/// The real path of a regular file that lies in `folder`, links followed.
fn resolve(folder: &Path, location: &str) -> Result<PathBuf, String> {
    if location.is_empty() {
        return Err("the location is missing".into());
    }
    let relative = Path::new(location);
    if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err("the location must be a path inside the model's folder".into());
    }
    let folder = folder.canonicalize().map_err(|e| e.to_string())?;
    let path = folder.join(relative).canonicalize().map_err(|e| e.to_string())?;
    if !path.starts_with(&folder) && !is_blob(&folder, &path) {
        return Err("the location leads out of the model's folder".into());
    }
    let path = followed(&path).unwrap_or(path);
    // Asked before opening: opening a pipe or a device may wait for ever.
    match path.metadata() {
        Ok(m) if m.is_file() => Ok(path),
        Ok(_) => Err("not a regular file".into()),
        Err(e) => Err(e.to_string()),
    }
}
