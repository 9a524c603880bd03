"""What goes through the pipe between a reader of an archive and the process that unpacks it: frames.

Written by `seven_zip_sender`, read by `seven_zip`. Not covered: what either does with them.
"""

import struct

CHUNK_BYTES = 1 << 20
"""The longest frame: a kind, a length, and that many bytes."""
FRAME = struct.Struct("<cI")
MEMBER, DATA, MEMBER_ENDS, REFUSAL, ARCHIVE_ENDS = b"m", b"d", b"e", b"r", b"."
"""Kinds: a member's name, some of its bytes, its end after its checksum was compared, why there is no more, the end."""
