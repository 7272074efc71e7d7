"""Block devices in memory whose power can be cut inside a write, for real littlefs and FAT on MicroPython."""

import vfs

BLOCK = 4096


class Device:
    """`blocks` blocks of `size` bytes.

    torn    a write is cut inside a block; else a block is written as a whole or not, as SD cards do it
    left    bytes that can be written until the power goes, an erased block counts one; then everything fails
    dead    the power has gone; FAT is not told, so that it closes its files in peace
    erases, programmed  blocks erased and bytes written so far
    """

    def __init__(self, blocks, size=BLOCK, data=None):
        self.size = size
        self.blocks = blocks
        self.data = data or bytearray(b"\xff" * (blocks * size))
        self.torn = True
        self.left = 1 << 30
        self.dead = False
        self.erases = self.programmed = 0

    def readblocks(self, block, buf, offset=0):
        at = block * self.size + offset
        buf[:] = memoryview(self.data)[at:at + len(buf)]

    def writeblocks(self, block, buf, offset=None):
        if offset is None:  # as FAT does it: the whole block anew
            self.erase(block)
        at = block * self.size + (offset or 0)
        count = len(buf)
        if count > self.left:
            count = self.left if self.torn else 0
        if not self.dead:
            self.data[at:at + count] = memoryview(buf)[:count]
            self.programmed += count
        self.spend(len(buf))
        return -5 if self.dead and offset is not None else 0

    def erase(self, block):
        self.erases += 1
        return self.spend(1)

    def spend(self, count):
        """True while there is power."""
        self.dead = self.dead or count > self.left
        self.left -= count
        return not self.dead

    def ioctl(self, command, argument):
        if command == 4:
            return self.blocks
        if command == 5:
            return self.size
        if command == 6:
            if not self.erase(argument):
                return -5
            self.data[argument * self.size:(argument + 1) * self.size] = b"\xff" * self.size
        return 0


def littlefs(data=None, blocks=16):
    """A littlefs on a device with this data, or an empty one; and the device."""
    device = Device(blocks, BLOCK, data)
    if data is None:
        vfs.VfsLfs2.mkfs(device, progsize=256)  # as on the RP2040
    return vfs.VfsLfs2(device, progsize=256), device


def fat(data=None, blocks=100):
    """The same with FAT, whose sectors have 512 bytes."""
    device = Device(blocks, 512, data)
    if data is None:
        vfs.VfsFat.mkfs(device)
    return vfs.VfsFat(device), device
