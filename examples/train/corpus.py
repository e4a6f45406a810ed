"""A training text as tokens: a byte-level BPE tokenizer for it, and the streams that are fitted to and held out."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from fortunes import HELD_OUT

END = "<|endoftext|>"


def paragraphs(file: Path) -> list[str]:
    """The paragraphs of a UTF-8 text file: what empty lines part."""
    parts = file.read_text(encoding="utf-8").split("\n\n")
    return [part.strip() for part in parts if part.strip()]


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE tokenizer (Hugging Face `tokenizers` format); no text is unknown to it.

    It puts the end token in front of what it encodes, as each text of the training stream has it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return tokenizer


def token_streams(tokenizer: Tokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """`(training, validation)` streams of token ids, shuffled by text, the end token before each."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    order = np.random.default_rng(0).permutation(len(ids))
    training = [ids[i] for i in order if i % HELD_OUT]
    validation = [ids[i] for i in order if i % HELD_OUT == 0]
    return tuple(np.array(sum(part, []), dtype=np.int32) for part in (training, validation))
