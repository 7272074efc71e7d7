"""The log on flash against a dict: random batches, reopenings, compactions, cuts of the power and failing writes."""

from hypothesis import given
from hypothesis import strategies as st

from flash_files import MemoryFiles, apply, content, opened

keys = st.integers(0, 12).map(lambda i: b"\7%d" % i) | st.binary(min_size=1, max_size=4)
batches = st.dictionaries(keys, st.none() | st.binary(max_size=40), max_size=6).map(lambda d: list(d.items()))
steps = st.one_of(
    st.tuples(st.just("commit"), batches),
    st.tuples(st.just("commit"), batches),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("cut"), st.tuples(batches, st.integers(0, 400))),
    st.tuples(st.just("fail"), st.tuples(batches, st.integers(0, 20))),
    st.tuples(st.just("full"), st.tuples(batches, st.integers(0, 200))),
)


@given(st.lists(steps, max_size=40), st.integers(1, 600))
def test_log_is_a_dict(actions, segment):
    files = MemoryFiles()
    log = opened(files, segment)
    model: dict[bytes, bytes] = {}
    for name, value in actions:
        if name == "commit":
            log.commit(value)
            model = apply(model, value)
        elif name == "reopen":
            log = opened(files, segment)
        elif name == "compact":
            log.compact()
        elif name == "cut":
            batch, left = value
            files.trace.clear()
            files.tracing = True
            before = dict(files.contents)
            log.commit(batch)
            files.contents = replay(before, files.trace, left)
            files.tracing = False
            log = opened(files, segment)
            found = dict(log.live())
            assert found in (model, apply(model, batch))
            model = found
        else:
            batch, left = value
            if name == "fail":
                files.fails = left
            else:
                files.capacity = sum(map(len, files.contents.values())) + left
            try:
                log.commit(batch)
                model = apply(model, batch)
            except OSError:
                # Nothing of it counts; yet a file system may have kept it all the same.
                assert dict(log.live()) == model
                if content(files, segment) != model:
                    model = apply(model, batch)
                    log = opened(files, segment)
            files.fails = -1
            files.capacity = 1 << 30
        assert dict(log.live()) == model
        assert content(files, segment) == model
    assert list(log.live()) == sorted(model.items())


def replay(contents, trace, left):
    """Files after the first `left` steps of what was done, a byte being one."""
    contents = dict(contents)
    for step, number, *data in trace:
        if step == "write":
            contents[number] += data[0][:left]
            left -= len(data[0])
        elif step == "make":
            contents[number] = b""
            left -= 1
        else:
            del contents[number]
            left -= 1
        if left <= 0:
            break
    return contents
