//! Compiles the microkernels once more, as one object for each architecture that there is a standard library for: objects
//! that `trine compile` writes hold those that they call.
//!
//! They are optimised as a whole, so that nothing of the standard library is called from them.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::read::archive::ArchiveFile;

/// Architectures whose objects are written, and the targets whose microkernels go into them.
const TARGETS: [(&str, &str); 2] =
    [("x86_64", "x86_64-unknown-linux-gnu"), ("aarch64", "aarch64-unknown-linux-gnu")];

fn main() {
    if let Err(error) = write_objects() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn write_objects() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("DEP_TRINE_UKERNEL_MANIFEST")?);
    let source = manifest.parent().ok_or("a manifest lies in a folder")?;
    println!("cargo::rerun-if-changed={}", source.join("src").display());
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Of manifests, those in packages alone inherit nothing.
    let text = fs::read_to_string(&manifest)?;
    let is_packaged = !text.contains(".workspace = true");
    let manifest = if is_packaged { apart(&text, source, &out)? } else { manifest };
    let mut listed = String::from("const OBJECTS: &[(&str, &[u8])] = &[\n");
    for (architecture, target) in TARGETS {
        if target != env::var("TARGET")? && !has_library(target)? {
            continue;
        }
        let path = out.join(format!("{architecture}.o"));
        fs::write(&path, compiled(&manifest, is_packaged, target, &out)?)?;
        writeln!(listed, "    ({architecture:?}, include_bytes!({path:?})),")?;
    }
    listed += "];\n";
    Ok(fs::write(out.join("microkernels.rs"), listed)?)
}

/// Whether the standard library of a target is installed.
fn has_library(target: &str) -> Result<bool, Box<dyn Error>> {
    let output =
        Command::new(env::var("RUSTC")?).args(["--print", "target-libdir", "--target", target]).output()?;
    Ok(output.status.success() && Path::new(String::from_utf8(output.stdout)?.trim()).is_dir())
}

/// A manifest for sources that came in a package, with nothing but their library: what tests and benches depend on may
/// not be there, and a workspace that the package lies in is not its own.
fn apart(text: &str, source: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let wanted = ["package]", "lib]", "dependencies"];
    let mut kept = String::from("[workspace]\n");
    for table in text.split("\n[").filter(|table| wanted.iter().any(|name| table.starts_with(name))) {
        write!(kept, "\n[{table}")?;
    }
    for file in ["build.rs", "src/lib.rs"] {
        kept = kept.replace(&format!("{file:?}"), &format!("{:?}", source.join(file)));
    }
    let folder = out.join("microkernels");
    fs::create_dir_all(&folder)?;
    // A lock that an earlier build left may name what is no longer there.
    _ = fs::remove_file(folder.join("Cargo.lock"));
    let manifest = folder.join("Cargo.toml");
    fs::write(&manifest, kept)?;
    Ok(manifest)
}

/// The object of the microkernels of a target.
fn compiled(manifest: &Path, is_packaged: bool, target: &str, out: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    // Builds of all profiles share it: target/PROFILE/build/PACKAGE/out.
    let shared = out.ancestors().nth(4).unwrap_or(out).join("microkernels");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["rustc", "--lib", "--release", "--crate-type", "staticlib", "--manifest-path"]).arg(manifest);
    cargo.args(["--target", target, "--target-dir"]).arg(&shared);
    for setting in ["lto=\"fat\"", "codegen-units=1", "panic=\"abort\"", "debug=false"] {
        cargo.arg("--config").arg(format!("profile.release.{setting}"));
    }
    if is_packaged {
        // All that the library needs was fetched before anything was built.
        cargo.arg("--offline");
    }
    cargo.args(["--", "--cfg", "trine_archive"]);
    // What is asked of this build, such as a sanitizer, is not for programs that link the object.
    for asked in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(asked);
    }
    let built = cargo.output()?;
    if !built.status.success() {
        return Err(format!("{cargo:?} failed:\n{}", String::from_utf8_lossy(&built.stderr)).into());
    }
    let archive = fs::read(shared.join(target).join("release/libtrine_ukernel.a"))?;
    let members = ArchiveFile::parse(archive.as_slice())?;
    for member in members.members() {
        let member = member?;
        // The others are what every archive has for a machine without a C library.
        if member.name().starts_with(b"trine_ukernel") {
            return Ok(member.data(archive.as_slice())?.to_vec());
        }
    }
    Err("the archive holds no microkernels".into())
}
