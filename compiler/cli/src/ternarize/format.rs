//! What a rounded model is written as: the smallest that says all of it, unless another is asked for.

use std::path::Path;

use clap::ValueEnum;
use trine::Module;
use trine::calibrate::{Calibrated, Linear};
use trine::export::{self, ExportError, GROUPS, Spelling};
use trine::ternarize::Recipe;

use super::Args;
use crate::failure::{Failure, Outcome, warn};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Onnx,
    Nbits,
    Ir,
}

impl Format {
    /// What it is called on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::Nbits => "nbits",
            Format::Ir => "ir",
        }
    }

    /// What it is, for people.
    pub fn described(self) -> &'static str {
        match self {
            Format::Onnx => "ONNX with ternary f32 weights",
            Format::Nbits => "ONNX with 2-bit MatMulNBits",
            Format::Ir => "IR with packed trits",
        }
    }

    /// What the arguments alone say: the format to write, unless the model turns out to have layers that ONNX cannot say.
    pub fn wanted(args: &Args, recipe: &Recipe, model: &Path) -> Result<Format, Failure> {
        let is_ir = model.extension().is_some_and(|e| e == "ir");
        let group = recipe.settings.group;
        let in_blocks = group.is_multiple_of(GROUPS);
        match args.format {
            // The rounded layers are not all that a rotation changes, and nothing in ONNX says what the layers sum.
            None if is_ir || args.rotate || args.activations == "i8" || !in_blocks => Ok(Format::Ir),
            None => Ok(Format::Nbits),
            Some(Format::Ir) => Ok(Format::Ir),
            Some(_) if is_ir => {
                Err(Failure::usage("a model that is IR cannot be written as ONNX", "leave --format out"))
            }
            Some(_) if args.rotate => {
                let message = "a model that is rotated cannot be written as ONNX";
                Err(Failure::usage(message, "leave --format out, or write --format ir"))
            }
            Some(_) if !in_blocks => {
                let message = format!("ONNX cannot say that a scale serves groups of {group} weights");
                let help = format!("take a multiple of {GROUPS}, or leave --format out, which writes IR");
                Err(Failure::usage(message, help))
            }
            Some(onnx) => Ok(onnx),
        }
    }

    /// The format that the layers can be written in: this, or IR where ONNX cannot say them and was not asked for.
    pub fn settled(self, args: &Args, model: &Path, layers: &[Linear]) -> Result<Format, ExportError> {
        match (self, args.format) {
            (Format::Ir, _) => Ok(Format::Ir),
            (onnx, asked) => match (export::refusal(model, layers)?, asked) {
                (None, _) => Ok(onnx),
                (Some(_), None) => Ok(Format::Ir),
                (Some(refusal), Some(_)) => Err(refusal),
            },
        }
    }

    /// Writes the model at `model`, of which `rounded` is what became, into a folder.
    pub fn write(
        self,
        args: &Args,
        model: &Path,
        folder: &Path,
        rounded: &Module,
        calibrated: &Calibrated,
    ) -> Outcome {
        if self != Format::Ir && args.activations == "i8" {
            warn("ONNX does not say that activations are int8; run it with --activations i8:row");
        }
        match self {
            Format::Onnx => export::onnx(model, &calibrated.layers, folder, Spelling::F32)?,
            Format::Nbits => export::onnx(model, &calibrated.layers, folder, Spelling::NBits)?,
            Format::Ir => trine::save(rounded, folder.join("model.ir"))?,
        }
        Ok(())
    }
}
