//! Tokenizers as Hugging Face writes them: given, or found beside the model.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerImpl,
};

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
        let text = std::fs::read_to_string(&path).map_err(|e| trine::FileError::read(&path, e))?;
        let tokenizer = parse(&text)
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

type OfPairs =
    TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Reads any tokenizer. The library tries which model one has on copies of all of it, which takes longer than the first token:
/// what most have is tried first, without them.
fn parse(text: &str) -> tokenizers::Result<Tokenizer> {
    match serde_json::from_str::<OfPairs>(text) {
        Ok(tokenizer) => Ok(tokenizer.into()),
        Err(_) => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_is_read_as_the_library_reads_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/lm/tokenizer.json");
        let text = std::fs::read_to_string(root).unwrap();
        let (ours, theirs): (Tokenizer, Tokenizer) = (parse(&text).unwrap(), text.parse().unwrap());
        assert_eq!(serde_json::to_string(&ours).unwrap(), serde_json::to_string(&theirs).unwrap());
        let words = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
            "model":{"type":"WordLevel","vocab":{"a":0,"b":1,"?":2},"unk_token":"?"}}"#;
        assert_eq!(parse(words).unwrap().encode("b a c", true).unwrap().get_ids(), [1, 0, 2]);
        let error = parse("{}").unwrap_err().to_string();
        assert_eq!(error, "{}".parse::<Tokenizer>().unwrap_err().to_string());
    }
}
