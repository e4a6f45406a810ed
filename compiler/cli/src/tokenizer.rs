//! Tokenizers as Hugging Face writes them: given, or found beside the model.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use super::failure::Failure;

/// A tokenizer and the file that it came from.
pub struct TokenizerFile {
    pub path: PathBuf,
    pub tokenizer: Tokenizer,
}

impl TokenizerFile {
    /// Reads `given`, else `tokenizer.json` beside the model.
    pub fn open(given: Option<&Path>, model: &Path) -> Result<TokenizerFile, Failure> {
        let beside = || model.parent().unwrap_or(Path::new("")).join("tokenizer.json");
        let path = given.map_or_else(beside, Path::to_path_buf);
        if !path.exists() {
            let help = "give it with --tokenizer FILE; it comes with the model, as `tokenizer.json`";
            return Err(Failure::input(format!("there is no tokenizer `{}`", path.display()), help));
        }
        let tokenizer = Tokenizer::from_file(&path)
            .map_err(|e| Failure::input(format!("`{}` is not a tokenizer: {e}", path.display()), ""))?;
        Ok(TokenizerFile { path, tokenizer })
    }

    /// Text as tokens, with those that the model expects around it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Failure> {
        let encoding = self.tokenizer.encode(text, true).map_err(|e| self.failure(&e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of a file of text.
    pub fn encode_file(&self, path: &Path) -> Result<Vec<u32>, Failure> {
        let bytes = std::fs::read(path).map_err(|e| trine::FileError::read(path, e))?;
        let text = String::from_utf8(bytes).map_err(|_| trine::Error::NotText { path: path.into() })?;
        if text.trim().is_empty() {
            return Err(Failure::input(format!("`{}` holds no text", path.display()), ""));
        }
        self.encode(&text)
    }

    pub fn failure(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::input(format!("`{}`: {error}", self.path.display()), "")
    }
}
