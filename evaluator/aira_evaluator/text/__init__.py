"""What the tasks over text share: reading documents, the byte-pair tokenizer, and finding near duplicates.

Not covered: which documents a split holds, which every task decides for itself.
"""
