"""Makes a folder of tokens from the seeded grammar of synthetic stories, for toys and tests.

    python -m aira_evaluator.pretrain.toy_tokens FOLDER [--documents 4000] [--vocabulary 512] [--seed 0]

The texts stand in for BabiStories as `text.grammar` makes them; the manifest says that they are synthetic. The
tokenizer is a byte-pair one of our own, trained on the training documents, and lies beside them. Not covered: public
text.
"""

import argparse
import sys
from pathlib import Path

from aira_evaluator.pretrain.shards import Description, TokenManifest
from aira_evaluator.pretrain.token_writer import write_tokens
from aira_evaluator.text.grammar import synthetic_documents
from aira_evaluator.text.tokenizer import GPT4_SPLIT, BytePairTokenizer

HELD_OUT = 20
"""One document of so many is validation."""


def make_toy_tokens(folder: Path, *, documents: int, vocabulary: int, seed: int = 0) -> TokenManifest:
    """Write a folder of tokens.

    Args:
        folder: where; made if it is absent.
        documents: stories in all, a twentieth of them held out.
        vocabulary: token ids, the separator among them; at least 257, since every byte is a token.
        seed: of the stories.
    """
    texts = list(synthetic_documents("stories", documents, seed))
    held_out, training = texts[: documents // HELD_OUT], texts[documents // HELD_OUT :]
    tokenizer = BytePairTokenizer.train(training, vocabulary, GPT4_SPLIT)
    tokenizer.save(folder)
    about = Description(
        name="toy stories",
        source="a seeded grammar of our own",
        synthetic=True,
        tokenizer="byte pairs of our own",
        tokenizer_sha256=tokenizer.sha256,
        vocabulary=tokenizer.get_vocab_size(),
        separator=tokenizer.get_bos_token_id(),
        own_tokenizer=True,
    )
    return write_tokens(folder, about, tokenizer.encode_documents(training), tokenizer.encode_documents(held_out))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    made = make_toy_tokens(
        options.folder, documents=options.documents, vocabulary=options.vocabulary, seed=options.seed
    )
    tokens = sum(shard.tokens for shard in made.train)
    print(f"{tokens:,} training tokens of {made.vocabulary} ids, unigram entropy {made.unigram_entropy:.3f} nats")
    return 0


if __name__ == "__main__":
    sys.exit(main())
