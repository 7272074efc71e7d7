"""A log on flash: what is there after the power went, at any byte, and what a broken or full file system does to it."""

import io

from flash_files import MemoryFiles, a_run, apply, content, opened

TIMEOUT = 240


def written(files, log, count=40):
    """Write a run; the state after each batch."""
    states: "list[dict[bytes, bytes]]" = [{}]
    for batch in a_run(count):
        files.note("begin", len(states))
        log.commit(batch)
        states.append(apply(states[-1], batch))
        files.note("done", len(states) - 1)
    return states


def test_records_are_there_when_opened_again_in_the_order_of_their_keys():
    files = MemoryFiles()
    state = written(files, opened(files))[-1]
    found = list(opened(files).live())
    assert dict(found) == state
    assert [key for key, _ in found] == sorted(state)


def test_more_keys_than_are_kept_in_memory():
    files = MemoryFiles()
    log = opened(files, 1 << 20)
    keys = [b"\7%d" % (i * 37 % 200) for i in range(200)]
    for i in range(0, 200, 20):
        log.commit([(key, key * 2) for key in keys[i:i + 20]])
    log.commit([(key, None) for key in keys[:70]])
    log.commit([(keys[0], b"again")])
    state = dict([(key, key * 2) for key in keys[70:]])
    state[keys[0]] = b"again"
    assert list(log.live()) == sorted(state.items())
    log.compact()
    assert list(opened(files).live()) == sorted(state.items())


def test_the_power_goes_at_any_byte():
    files = MemoryFiles()
    files.tracing = True
    log = opened(files)
    states = written(files, log)
    assert log.compactions >= 3
    disk = MemoryFiles()
    done = begun = cuts = 0

    def recover():
        """Only whole batches are there, all that were done among them; and the log goes on."""
        after = MemoryFiles(disk.contents)
        log = opened(after)
        assert log.size == sum([len(data) for data in after.contents.values()])  # nothing else is left over
        found = dict(log.live())
        assert found == states[done] or found == states[begun], (done, begun)
        log.commit([(b"\7more", b"more")])
        found[b"\7more"] = b"more"
        assert content(after) == found

    for step in files.trace:
        if step[0] == "begin":
            begun = step[1]
        elif step[0] == "done":
            done = step[1]
            assert content(disk) == states[done]
        elif step[0] == "make":
            disk.contents[step[1]] = b""
        elif step[0] == "remove":
            del disk.contents[step[1]]
        else:
            before = disk.contents[step[1]]
            for i in range(len(step[2])):
                disk.contents[step[1]] = before + step[2][:i]
                recover()
                cuts += 1
            disk.contents[step[1]] = before + step[2]
        recover()
    assert cuts > 2000


def test_the_power_goes_again_and_again():
    files = MemoryFiles()
    state: "dict[bytes, bytes]" = {}
    for i in range(60):
        log = opened(files)
        assert dict(log.live()) == state
        batch = [(b"\7%d" % (i % 7), b"%d" % i)]
        log.commit(batch)
        state = apply(state, batch)
        last = max(files.contents)
        torn = MemoryFiles(files.contents)
        opened(torn).commit([(b"\7lost", b"lost")])
        cut = files.contents[last]
        files.contents[last] = torn.contents.get(last, cut)[:len(cut) + i % 20]
        if last not in torn.contents:  # it was compacted
            files.contents[last] = cut
    assert content(files) == state
    assert len(files.contents) < 12  # each torn file is followed by a new one: that must end


def test_a_flipped_bit_is_noticed_and_what_came_before_is_there():
    files = MemoryFiles()
    log = opened(files, 1 << 20)
    ends = []
    states: "list[dict[bytes, bytes]]" = [{}]
    for batch in a_run(12):
        log.commit(batch)
        states.append(apply(states[-1], batch))
        ends.append(log.size)
    data = files.contents[1]
    for i in range(len(data)):
        spoilt = MemoryFiles({1: data[:i] + bytes((data[i] ^ 1 << i % 8,)) + data[i + 1:]})
        reports: "list[str]" = []
        log = opened(spoilt, 1 << 20, reports)
        whole = len([end for end in ends if end <= i])
        assert dict(log.live()) == states[whole], i
        assert len(reports) == 1 and log.cut == len(data) - (ends[whole - 1] if whole else 0), reports
        assert "memory: %d bytes at the end of file 1 " % log.cut in reports[0]


def test_a_flipped_bit_anywhere_in_many_segments():
    files = MemoryFiles()
    log = opened(files, 100)
    history: "dict[bytes, list[object]]" = {}
    for batch in a_run(100):
        if len(files.contents) > 3:
            break
        log.commit(batch)
        for key, value in batch:
            history.setdefault(key, []).append(value)
    assert log.compactions and len(files.contents) > 3
    for number in files.contents:
        data = files.contents[number]
        for i in range(len(data)):
            spoilt = MemoryFiles(files.contents)
            spoilt.contents[number] = data[:i] + bytes((data[i] ^ 1 << i % 8,)) + data[i + 1:]
            log = opened(spoilt, 100)
            assert log.cut
            for key, value in log.live():
                assert value in history[key]


def test_what_is_left_of_other_files_is_no_batch():
    files = MemoryFiles()
    log = opened(files)
    log.commit([(b"\7a", b"1")])
    one = files.contents[1]
    for contents in ({1: one, 2: one}, {1: one + one}, {1: one + bytes(100)}, {1: one + b"\xff" * 100}):
        log = opened(MemoryFiles(contents))
        assert dict(log.live()) == {b"\7a": b"1"}
        assert log.cut == sum([len(data) for data in contents.values()]) - len(one)


def test_one_step_fails():
    """Whichever step it is: the batch can be committed again, and nothing is lost."""
    step = failures = 0
    while True:
        files = MemoryFiles()
        log = opened(files)
        files.fails = step
        state: "dict[bytes, bytes]" = {}
        for batch in a_run(20):
            try:
                log.commit(batch)
            except OSError:
                failures += 1
                found = content(files)
                assert found == state or found == apply(state, batch)
                log.commit(batch)
            state = apply(state, batch)
            assert dict(log.live()) == state
            assert content(files) == state
        if files.fails >= 0:
            break
        step += 1
    assert step > 100 and failures > 20


def test_a_full_file_system():
    files = MemoryFiles()
    log = opened(files)
    log.commit([(b"\7a", b"1" * 50), (b"\7b", b"2" * 50)])
    state = dict(log.live())
    files.capacity = 200
    failed = 0
    for i in range(20):
        try:
            log.commit([(b"\7c", b"3" * 60)])
        except OSError as e:
            failed += e.errno == 28
        assert dict(log.live()) == content(files) == state
    assert failed == 20
    assert len(files.contents) <= 2  # what failed was removed
    files.capacity = 1000
    log.commit([(b"\7c", b"3" * 60)])
    assert dict(log.live()) == content(files) == apply(state, [(b"\7c", b"3" * 60)])


def test_room_for_compaction_is_kept():
    for keeps_parts in (False, True):
        files = MemoryFiles()
        files.keeps_parts = keeps_parts
        files.capacity = 20000
        log = opened(files, 1 << 20)
        state: "dict[bytes, bytes]" = {}
        for i in range(300):
            batch = [(b"\7%d" % (i % 9), bytes((i & 255,)) * 300)]
            log.commit(batch)
            state = apply(state, batch)
        assert content(files, 1 << 20) == state
        assert 5 < log.compactions < 150


def test_compaction_makes_room_when_others_have_taken_it():
    files = MemoryFiles()
    files.keeps_parts = False
    log = opened(files, 1 << 20)
    for i in range(10):
        log.commit([(b"\7a", b"%d" % i * 500)])
    files.capacity = log.size + 600
    log.commit([(b"\7a", b"new" * 400)])
    assert log.compactions
    assert content(files) == {b"\7a": b"new" * 400}


def test_a_compaction_there_is_no_room_for_is_told_and_nothing_is_lost():
    for keeps_parts in (False, True):
        files = MemoryFiles()
        files.keeps_parts = keeps_parts
        reports: "list[str]" = []
        log = opened(files, 1 << 20, reports)
        state: "dict[bytes, bytes]" = {}
        for i in range(10):
            state[b"\7%d" % i] = b"x" * 500
            log.commit([(b"\7%d" % i, b"x" * 500)])
        assert not reports
        files.capacity = log.size + 300
        for i in range(2):
            log.commit([(b"\7new%d" % i, b"y" * 100)])
            state[b"\7new%d" % i] = b"y" * 100
        assert len(reports) == 1 and reports[0].startswith("memory: cannot compact: OSError("), reports
        assert not log.compactions and content(files, 1 << 20) == state


def test_the_log_stays_small():
    files = MemoryFiles()
    log = opened(files)
    state: "dict[bytes, bytes]" = {}
    live = 0
    for batch in a_run(200):
        log.commit(batch)
        state = apply(state, batch)
        live = max(live, sum([len(key) + len(value) + 8 for key, value in state.items()]))
        assert log.size == sum([len(data) for data in files.contents.values()])
        assert log.size <= 2 * (live + 16) + 256  # two batches beside the records: theirs and the one that ends them
    assert log.compactions > 10


def test_copies_are_written_in_small_batches():
    """Also of records that hold next to nothing: a board has no large piece of memory left."""
    files = MemoryFiles()
    log = opened(files)
    for i in range(10):
        log.commit([(b"\3%06d" % (100 * i + k), b"\1") for k in range(20)])
    files.tracing = True
    log.compact()
    sizes = [int.from_bytes(what[2][:4], "big") for what in files.trace if what[0] == "write" and len(what[2]) == 8]
    assert sum(sizes) == 200 * 16 and max(sizes) <= 512 + 16, sizes


def test_what_is_written_is_counted():
    files = MemoryFiles()
    log = opened(files)
    written(files, log, 3)
    assert log.written == 3 * 4096 + log.size
    assert log.appends == files.synced == 3
    assert log.compactions == log.cut == 0


def test_an_empty_batch_is_none():
    files = MemoryFiles()
    log = opened(files)
    log.commit([(b"\7a", b"1")])
    log.commit([])
    assert content(files) == {b"\7a": b"1"}
    assert log.appends == 1


class _Broken:
    """A file that cannot be read to its end."""

    def __init__(self, data):
        self._file = io.BytesIO(data)
        self.seek = self._file.seek

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def read(self, count):
        if self.seek(0, 1) > 55:
            raise OSError(5, "broken")
        return self._file.read(count)


def test_a_file_that_cannot_be_read_to_its_end():
    files = MemoryFiles()
    log = opened(files)
    for i in range(5):
        log.commit([(b"\7%d" % i, b"value %d" % i)])
    whole = {b"\7%d" % i: b"value %d" % i for i in range(2)}

    class Files(MemoryFiles):
        def open(self, number, mode):
            return _Broken(self.contents[number]) if (number, mode) == (1, "rb") else super().open(number, mode)

    broken = Files(files.contents)
    log = opened(broken)
    assert dict(log.live()) == whole
    log.commit([(b"\7more", b"more")])
    assert dict(opened(broken).live()) == apply(whole, [(b"\7more", b"more")])


def test_a_file_that_cannot_be_opened():
    files = MemoryFiles()
    for i in range(2):
        opened(files).commit([(b"\7%d" % i, b"value %d" % i)])
        files.contents[i + 1] += b"torn"
    assert sorted(files.contents) == [1, 2]
    for lost in (1, 2):

        class Files(MemoryFiles):
            def open(self, number, mode):
                if number == lost:
                    raise OSError(5, "broken")
                return MemoryFiles.open(self, number, mode)

        broken = Files(files.contents)
        log = opened(broken, 1 << 20)
        left = {b"\7%d" % i: b"value %d" % i for i in range(2) if i + 1 != lost}
        assert dict(log.live()) == left
        log.commit([(b"\7more", b"more")])
        assert dict(opened(broken, 1 << 20).live()) == apply(left, [(b"\7more", b"more")])
