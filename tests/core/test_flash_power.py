"""The log on real littlefs and FAT: the power goes inside the file system's own writes, bits flip, and it is full."""

import os
import sys

from flash_files import a_run, apply
from flash_module import flash
from port.core.storage.flash_log import FlashLog

HEAPSIZE = "4m"
TIMEOUT = 240
CUTS = 150  # of each run
MOUNT = "/power"

if sys.implementation.name == "micropython":
    import vfs
    from flash_devices import fat, littlefs


def opened(system, reports=None):
    """The log on a file system that is mounted for that."""
    vfs.mount(system, MOUNT)
    log = FlashLog(flash.Folder(MOUNT + "/store"), 1200, lambda text, *values: None)
    log.open()
    return log


def batches():
    """A run that compacts, with files that littlefs keeps in the folder and files in blocks of their own."""
    for batch in a_run(24):
        yield [(key, value and value * 10) for key, value in batch]


def run(log, device, states):
    """Write it; `states` gets what the records are after each batch that is done."""
    try:
        for batch in batches():
            log.commit(batch)
            if device.dead:
                break
            states.append(apply(states[-1], batch))
    except OSError:
        assert device.dead


def cut_at(make, empty, left, torn=True):
    """One run whose power goes after so many bytes; True if that was before its end."""
    system, device = make(bytearray(empty))
    device.torn = torn
    states: "list[dict[bytes, bytes]]" = [{}]
    log = opened(system)
    device.left = left
    run(log, device, states)
    ended = device.dead
    vfs.umount(MOUNT)
    follow = list(batches())[len(states) - 1:][:1]
    system, device = make(bytearray(device.data))
    log = opened(system)
    found = dict(log.live())
    assert found == states[-1] or follow and found == apply(states[-1], follow[0]), (left, len(states))
    log.commit([(b"\7more", b"more" * 50)])
    assert dict(log.live()) == apply(found, [(b"\7more", b"more" * 50)])
    vfs.umount(MOUNT)
    system, device = make(bytearray(device.data))
    assert dict(opened(system).live()) == apply(found, [(b"\7more", b"more" * 50)])
    vfs.umount(MOUNT)
    return ended


def cut_many_times(make, count, torn=True):
    """Cuts at `count` places of a run, as even as that goes."""
    system, device = make()
    empty = bytes(device.data)
    log = opened(system)
    device.left = 1 << 30
    run(log, device, [{}])
    vfs.umount(MOUNT)
    assert log.compactions >= 2, log.compactions
    spent = (1 << 30) - device.left
    for i in range(count):
        assert cut_at(make, empty, spent * i // count, torn)
    assert not cut_at(make, empty, spent + 1000, torn)


if sys.implementation.name == "micropython":

    def test_the_power_goes_on_littlefs():
        cut_many_times(littlefs, CUTS)

    def test_the_power_goes_on_fat():
        cut_many_times(fat, CUTS, False)

    def test_the_power_goes_inside_a_sector_of_fat():
        cut_many_times(fat, CUTS, True)

    def test_a_full_file_system():
        for make in (littlefs, fat):
            system, device = make()
            log = opened(system)
            state = {b"\7a": b"1" * 700, b"\7b": b"2" * 700}
            log.commit(list(state.items()))
            filler = MOUNT + "/filler"
            fill(filler)
            failed = 0
            for i in range(30):
                batch = [(b"\7c%d" % i, b"3" * 400)]
                try:
                    log.commit(batch)
                    state = apply(state, batch)
                except OSError as e:
                    failed += e.errno == 28
                assert dict(log.live()) == state
            assert failed > 10, failed
            vfs.umount(MOUNT)
            log = opened(make(device.data)[0])
            assert dict(log.live()) == state
            os.remove(filler)
            log.commit([(b"\7c", b"3" * 400)])
            assert dict(log.live()) == apply(state, [(b"\7c", b"3" * 400)])
            vfs.umount(MOUNT)

    def test_room_for_compaction_is_kept():
        """The log may not take all room there is for values that are replaced anyway."""
        for make in (littlefs, fat):
            system, device = make()
            log = FlashLog(flash.Folder(MOUNT + "/store"), 1 << 20, lambda text, *values: None)
            vfs.mount(system, MOUNT)
            log.open()
            for i in range(300):
                log.commit([(b"\7%d" % (i % 4), bytes((i & 255,)) * 1000)])
            assert log.compactions
            assert dict(log.live()) == {b"\7%d" % (i % 4): bytes((i & 255,)) * 1000 for i in range(296, 300)}
            vfs.umount(MOUNT)

    def test_bits_flip_on_the_device():
        """The file system may notice or not: nothing is taken for a value that never was one."""
        history: "dict[bytes, list[object]]" = {}
        for batch in batches():
            for key, value in batch:
                history.setdefault(key, []).append(value)
        for make in (littlefs, fat):
            system, device = make()
            run(opened(system), device, [{}])
            vfs.umount(MOUNT)
            whole = bytes(device.data)
            opens = 0
            for i in range(0, len(whole), 197):
                data = bytearray(whole)
                data[i] ^= 1 << i % 8
                try:
                    log = opened(make(data)[0])
                    opens += 1
                    for key, value in log.live():
                        assert value in history[key]
                except OSError:  # no file system any more, or a folder that cannot be read
                    pass
                try:
                    vfs.umount(MOUNT)
                except OSError:
                    pass
            assert opens > len(whole) // 197 * 9 // 10


def fill(path):
    """Leave no room for anything else."""
    file = open(path, "wb")
    for size in (256, 1):
        try:
            while True:
                file.write(bytes(size))
                file.flush()
        except OSError:
            pass
    try:
        file.close()
    except OSError:
        pass
