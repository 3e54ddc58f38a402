"""What a row costs from one process to another: a stream socket beside shared memory.

    python benchmarks/models/transport.py

Rows go in batches. By the socket, rows themselves travel. By shared memory, each row lies in a slot
of its own (a mapped `memfd`), a socket of packets says which, and the receiver copies the row out,
as a batch does. Printed: microseconds of processor time a row, of the sender and of the receiver.
"""

from __future__ import annotations

import mmap
import os
import resource
import socket
import struct

SLOT = struct.Struct("QQ")
AHEAD = 4
"""Batches that are on their way at once."""


def spent_s() -> float:
    """Processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def by_socket(row: bytes, batch: int, rows: int) -> tuple[float, float]:
    """Seconds of sender and receiver."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        got, start = 0, spent_s()
        while got < len(row) * rows:
            got += len(theirs.recv(2**18))
        theirs.send(struct.pack("d", spent_s() - start))
        os._exit(0)
    start = spent_s()
    for _ in range(rows // batch):
        if len(row) < 2**16:
            ours.sendall(b"".join([row] * batch))
        else:
            for _ in range(batch):
                ours.sendall(row)
    return finished(ours, child, start)


def by_shared_memory(row: bytes, batch: int, rows: int) -> tuple[float, float]:
    """Seconds of sender and receiver."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    size, slots = len(row), AHEAD * batch
    file = os.memfd_create("slots")
    os.ftruncate(file, size * slots)
    memory = memoryview(mmap.mmap(file, size * slots))
    child = os.fork()
    if not child:
        got, start = 0, spent_s()
        while got < rows:
            told = theirs.recv(2**16)
            for at, length in SLOT.iter_unpack(told):
                bytes(memory[at : at + length])
            got += len(told) // SLOT.size
            theirs.send(b"k")
        theirs.send(struct.pack("d", spent_s() - start))
        os._exit(0)
    start, slot, ahead = spent_s(), 0, 0
    for _ in range(rows // batch):
        told = []
        for _ in range(batch):
            at = slot % slots * size
            memory[at : at + size] = row
            told.append(SLOT.pack(at, size))
            slot += 1
        ours.send(b"".join(told))
        ahead += 1
        if ahead == AHEAD:
            ours.recv(1)
            ahead -= 1
    for _ in range(ahead):
        ours.recv(1)
    return finished(ours, child, start)


def finished(ours: socket.socket, child: int, start: float) -> tuple[float, float]:
    """Seconds of both, once the receiver has all."""
    mine = spent_s() - start
    theirs = struct.unpack("d", ours.recv(8))[0]
    os.waitpid(child, 0)
    return mine, theirs


def main() -> None:
    """Measure each twice, in turns, and print."""
    for size, batch, rows in ((2048, 1, 20_000), (2048, 32, 64_000), (602_112, 8, 1_600)):
        for way in (by_socket, by_shared_memory) * 2:
            sender, receiver = way(os.urandom(size), batch, rows)
            print(
                f"{size:7} bytes a row, {batch:2} rows a batch, {way.__name__:16}: "
                f"sender {sender / rows * 1e6:5.1f} us, receiver {receiver / rows * 1e6:5.1f} us"
            )


if __name__ == "__main__":
    main()
