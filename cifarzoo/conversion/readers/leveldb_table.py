"""Read LevelDB's table format, in which TensorFlow writes the index of a checkpoint.

https://github.com/google/leveldb/blob/main/doc/table_format.md. The file ends with the positions of two blocks and a
magic number; the second block lists the others. A block holds keys and values in order, where a key gives only what
differs from the key before it, then the positions of keys that are whole; a byte (0: not compressed) and the block's
checksum follow.
"""

from collections.abc import Iterator

from cifarzoo.conversion.readers.crc32c import crc32c, masked
from cifarzoo.errors import WeightsError

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER = 48
TRAILER = 5
MOST_ENTRIES = 200_000
LONGEST_KEY = 1000


def items(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a table.

    Raises:
        WeightsError: the table is damaged, compressed, or has too many entries.
    """
    if len(data) < FOOTER or data[-8:] != MAGIC:
        raise WeightsError("damaged: the index does not end with the magic number of a table")
    footer = data[-FOOTER:-8]
    _, position = _handle(footer, 0)
    (start, length), _ = _handle(footer, position)
    bytes_left, entries_left = len(data), MOST_ENTRIES
    for _, value in _block(data, start, length):
        (start, length), _ = _handle(value, 0)
        bytes_left -= length + TRAILER
        if bytes_left < 0:
            raise WeightsError("damaged: blocks of the index overlap")
        for item in _block(data, start, length):
            entries_left -= 1
            if entries_left < 0:
                raise WeightsError(f"the index has more than {MOST_ENTRIES:,} entries")
            yield item


def _block(data: bytes, start: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    end = start + length
    block = data[start : end + 1]
    if end + TRAILER > len(data) or length < 4:
        raise WeightsError(f"damaged: the index claims a block of {length:,} bytes at {start:,}")
    if masked(crc32c(block)) != int.from_bytes(data[end + 1 : end + TRAILER], "little"):
        raise WeightsError(f"damaged: the checksum of the index is wrong at byte {start:,}")
    if block[-1]:
        raise WeightsError("the index is compressed, which TensorFlow does not do")
    restarts = int.from_bytes(block[-5:-1], "little")
    stop = length - 4 - 4 * restarts
    position, key = 0, b""
    while position < stop:
        shared, position = varint(block, position)
        added, position = varint(block, position)
        size, position = varint(block, position)
        if shared > len(key) or shared + added > LONGEST_KEY or position + added + size > stop:
            raise WeightsError(f"damaged: an entry of the index is longer than its block, at byte {start + position:,}")
        key = key[:shared] + block[position : position + added]
        position += added + size
        yield key, block[position - size : position]


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Return the start and length of a block, and the position after them."""
    start, position = varint(data, position)
    length, position = varint(data, position)
    return (start, length), position


def varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a number in groups of seven bits, as protocol buffers write it, and the position after it.

    Raises:
        WeightsError: the data end, or the number has more than 64 bits.
    """
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise WeightsError(f"damaged: the index has no number at byte {position:,}")
