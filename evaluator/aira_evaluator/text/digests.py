"""Hashes of documents' words, and draws by them: which documents are held out, without a list of them.

Used by the Compose tasks over text, with a public rule and a secret one on top of it, and by the tokens of pretraining.
Not covered: near duplicates (`contained`, `similar`).
"""

import hashlib

DIGEST_BYTES = 8


def digest(text: str) -> bytes:
    """Hash of a document's words, blind to case and white space."""
    return hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=DIGEST_BYTES).digest()


def is_held_out(document_digest: bytes, share: float) -> bool:
    """Whether a document belongs to the held-out pool; the rule is public."""
    # A hash is as good as a uniform draw, and the same for a document wherever and whenever it is met.
    return int.from_bytes(document_digest, "big") < int(share * 2.0 ** (8 * DIGEST_BYTES))


def keyed_digest(document_digest: bytes, key: bytes) -> bytes:
    """Return another hash of the same document, which nobody can tell without the key."""
    return hashlib.blake2b(document_digest, key=key, digest_size=DIGEST_BYTES).digest()
