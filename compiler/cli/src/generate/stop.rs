//! The tokens that end a text.
//!
//! `tokenizer.json` does not say which of its tokens they are: the files that models come with do, and where
//! those lack, the names that such tokens go by.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

/// What end-of-text tokens are called.
const NAMES: [&str; 8] = [
    "</s>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<eos>",
    "<end_of_turn>",
    "<|end|>",
];

/// The ids of tokens that end a text, by what lies beside the tokenizer.
pub fn tokens(tokenizer_path: &Path, tokenizer: &Tokenizer) -> Vec<u32> {
    let file = |name: &str| {
        let text = std::fs::read_to_string(tokenizer_path.with_file_name(name)).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    };
    for name in ["generation_config.json", "config.json"] {
        let ids = file(name).map_or(vec![], |config| ids(&config["eos_token_id"]));
        if !ids.is_empty() {
            return ids;
        }
    }
    let named = file("tokenizer_config.json").and_then(|config| {
        let token = &config["eos_token"];
        tokenizer.token_to_id(token.as_str().or(token["content"].as_str())?)
    });
    if let Some(id) = named {
        return vec![id];
    }
    let special = tokenizer.get_added_tokens_decoder();
    let is_end = |content: &str| NAMES.contains(&content);
    special.into_iter().filter(|(_, t)| t.special && is_end(&t.content)).map(|(id, _)| id).collect()
}

/// One id or a list of them.
fn ids(value: &Value) -> Vec<u32> {
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(values) => values.iter().filter_map(id).collect(),
        value => id(value).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_or_several() {
        assert_eq!(ids(&serde_json::json!(2)), [2]);
        assert_eq!(ids(&serde_json::json!([1, "x", 3])), [1, 3]);
        assert_eq!(ids(&Value::Null), [] as [u32; 0]);
    }
}
