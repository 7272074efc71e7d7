"""Hypothesis strategies for topic names and filters that meet each other often."""

from hypothesis import strategies as st

levels = st.sampled_from([b"a", b"b", b"", b"c"])
first_levels = st.sampled_from([b"a", b"b", b"", b"$SYS", b"$x"])


def _join(parts):
    return b"/".join(parts)


# The empty name is not valid.
names = st.builds(lambda first, rest: _join([first, *rest]), first_levels,
                  st.lists(levels, max_size=3)).filter(bool)
client_names = names.filter(lambda name: not name.startswith(b"$"))
filters = st.builds(lambda first, rest, end: _join([first, *rest, *end]),
                    first_levels | st.just(b"+"),
                    st.lists(levels | st.just(b"+"), max_size=3),
                    st.sampled_from([[], [], [b"#"]])).filter(bool) | st.just(b"#")
shared_filters = st.builds(lambda group, inner: b"$share/" + group + b"/" + inner,
                           st.sampled_from([b"g", b"h"]), filters)
