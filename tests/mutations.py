"""Damage to files, as a disk, a network or an attacker does it."""


def mutated(data, rng):
    """Return a copy with some bits flipped, a piece cut out, repeated, or overwritten."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        kind = rng.randrange(5)
        if kind == 0 and first < len(data):
            data[first] ^= 1 << rng.randrange(8)
        elif kind == 1 and first < len(data):
            data[first] = rng.choice((0, 255, 0x7F, rng.randrange(256)))
        elif kind == 2:
            del data[first : min(last, first + 64)]
        elif kind == 3:
            data[first:first] = data[first : min(last, first + 64)]
        else:
            data[first:first] = rng.randbytes(rng.choice((1, 4, 8)))
    return bytes(data)
