"""Changes of bytes that know nothing of what they mean."""

from collections.abc import Callable
from random import Random

Mutation = Callable[[bytearray, Random], None]

TELLING = (0x00, 0x01, 0x09, 0x0A, 0x0D, 0x1A, 0x20, 0x22, 0x2C, 0x2D, 0x5B, 0x7B, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)
"""Bytes that end, open or escape something in one format or another."""


def flip_bit(data: bytearray, random: Random) -> None:
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def set_byte(data: bytearray, random: Random) -> None:
    data[random.randrange(len(data))] = random.choice(TELLING) if random.random() < 0.7 else random.randrange(256)


def insert(data: bytearray, random: Random) -> None:
    start = random.randrange(len(data))
    data[start:start] = random.randbytes(random.choice((1, 1, 1, 2, 8, 100)))


def delete(data: bytearray, random: Random) -> None:
    start = random.randrange(len(data))
    del data[start : start + random.choice((1, 1, 1, 2, 8, 100))]


def double(data: bytearray, random: Random) -> None:
    """Put a piece a second time, somewhere else."""
    start, place = random.randrange(len(data)), random.randrange(len(data))
    data[place:place] = data[start : start + random.choice((1, 4, 16, 200))]


def cut_off(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data)) :]


MUTATIONS: tuple[Mutation, ...] = (flip_bit, set_byte, insert, delete, double, cut_off)


def splice(data: bytes, other: bytes, random: Random) -> bytes:
    """Return the beginning of one and the end of another."""
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def mutated(data: bytes, random: Random, *, most: int = 4) -> bytes:
    """Return bytes after one to ``most`` mutations."""
    changed = bytearray(data)
    for _ in range(random.randint(1, most)):
        if changed:
            random.choice(MUTATIONS)(changed, random)
    return bytes(changed)
