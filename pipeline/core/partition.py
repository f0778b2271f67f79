"""Kafka's default partitioner: murmur2 of the key, so that all producers agree.

Source: org.apache.kafka.common.utils.Utils.murmur2 and
org.apache.kafka.clients.producer.internals.BuiltInPartitioner of Apache Kafka; the hash is
Austin Appleby's MurmurHash2 with seed 0x9747b28c, on 32-bit unsigned words.
"""

from __future__ import annotations

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_WORD = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 of `data` as an unsigned 32-bit number (Java shows the same bits signed)."""
    length = len(data)
    whole = length - length % 4
    h = _SEED ^ length
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _MIX & _WORD
        k ^= k >> 24
        h = (h * _MIX & _WORD) ^ (k * _MIX & _WORD)
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _MIX & _WORD
    h = (h ^ (h >> 13)) * _MIX & _WORD
    return h ^ (h >> 15)


def partition_for(key: bytes, partitions: int) -> int:
    """Partition of `key` in a topic with so many partitions, from 0; ValueError below one."""
    if partitions < 1:
        raise ValueError(f"A topic has at least one partition, not {partitions}.")
    return (murmur2(key) & _POSITIVE) % partitions
