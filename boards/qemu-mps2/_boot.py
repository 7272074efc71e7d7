"""Mounts the file system: littlefs in RAM that keeps its contents over machine.reset, 848 KB as on a Pico W."""

import uctypes
import vfs


class Memory:
    """A block device."""

    def __init__(self):
        self.data = memoryview(uctypes.bytearray_at(0x21000000, 848 * 1024))

    def readblocks(self, block, buffer, offset=0):
        start = block * 4096 + offset
        buffer[:] = self.data[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        start = block * 4096 + offset
        self.data[start : start + len(buffer)] = buffer

    def ioctl(self, what, argument):
        if what == 4:  # asks for the number of blocks
            return 212
        if what == 5:  # asks for the size of a block
            return 4096
        return 0


memory = Memory()
try:
    files = vfs.VfsLfs2(memory, progsize=256)
except OSError:
    vfs.VfsLfs2.mkfs(memory, progsize=256)
    files = vfs.VfsLfs2(memory, progsize=256)
vfs.mount(files, "/")
