"""Passwords: PBKDF2 against hashlib's, files and records of any content."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from port.core.auth.password_file import make_record, parse
from port.core.auth.passwords import Pbkdf2, read_record
from port.cpython.auth import passwords

secrets = st.binary(max_size=200) | st.binary(min_size=60, max_size=70)
allowed = secrets.filter(lambda password: b"\0" not in password)  # HMAC would take `pw` and `pw\0` for the same
salts = st.binary(min_size=16, max_size=16)
letters = st.characters(codec="utf-8", min_codepoint=32, exclude_characters=":#\x7f")
names = st.text(letters, min_size=1, max_size=20).map(str.strip).filter(lambda name: name and name[0] != "\ufeff")
GOOD = make_record(b"secret", bytes(16), 2)


@given(secrets, st.binary(max_size=40), st.integers(1, 60), st.integers(1, 70))
def test_pbkdf2_is_hashlibs(password, salt, iterations, size):
    work = Pbkdf2(password, salt, iterations)
    digest = work.step(size)
    while digest is None:
        digest = work.step(size)
    assert digest == hashlib.pbkdf2_hmac("sha256", password, salt, iterations)


@given(allowed, secrets, salts, st.integers(1, 30))
def test_a_record_of_a_board_is_known_to_a_server(password, other, salt, iterations):
    record = make_record(password, salt, iterations)
    assert passwords.verify(record, password)
    if password != other:
        assert not passwords.verify(record, other)


@given(allowed, st.integers(1, 30))
def test_a_record_of_a_server_is_known_to_a_board(password, iterations):
    count, salt, digest = read_record(passwords.hash_password(password, iterations=iterations))
    assert count == iterations and Pbkdf2(password, salt, count).step(count) == digest


@given(st.dictionaries(names, st.just(GOOD), max_size=5))
def test_what_is_written_is_read(users):
    wanted = {name.encode(): record for name, record in users.items()}
    assert parse(["{}:{}\n".format(*item).encode() for item in users.items()]) == wanted


lines = st.lists(
    st.binary(max_size=60)
    | st.tuples(st.binary(max_size=10), st.text(max_size=60)).map(lambda pair: pair[0] + b":" + pair[1].encode())
    | st.integers(0, len(GOOD)).map(lambda end: b"user:" + GOOD[:end].encode())
    | st.just(b"good:" + GOOD.encode()),
    max_size=6,
)


@given(lines)
def test_any_file_is_read_or_refused_with_the_line(content):
    for check in (read_record, passwords.check_record):
        try:
            users = parse(content, check)
        except ValueError as e:
            assert str(e).startswith("line ") and GOOD[-20:] not in str(e)
        else:
            for name, record in users.items():
                assert name and b":" not in name
                check(record)


marks = ("pbkdf2-sha256", "argon2id", "2a", "2b", "2y", "6", "7", "sha256", "v=19", "m=65536,t=3,p=4", "i=1", "c2FsdA==")
records = st.text(max_size=80) | st.lists(st.sampled_from(marks) | st.text(max_size=20), max_size=6).map(
    lambda parts: "$" + "$".join(parts)
)


@given(records)
def test_any_record_is_a_good_one_or_a_value_error(record):
    for read in (read_record, passwords.verifier, passwords.check_record):
        for text in (record, record + "hunter2", "hunter2" + record):
            try:
                read(text)
            except ValueError as e:
                assert "hunter2" not in str(e)  # it may be a password in the clear
