"""include_dir: a configuration in several files."""

import tomllib

import pytest

from tests.host.config.test_config import RECORD, run


@pytest.fixture
def folder(tmp_path):
    """Write files, name -> text; the path of the first one."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return str(tmp_path / "broker.toml")

    return write


def printed(path, *arguments, **variables):
    done = run("--config", path, "--print-config", *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(path, *arguments):
    """What is said about a wrong configuration."""
    done = run("--config", path, "--check-config", *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.removeprefix("ucomqtt: ").strip()


def test_names_and_values_that_are_not_printable(folder, tmp_path):
    """They are escaped: what is printed is TOML, and moves no cursor."""
    path = folder(broker_toml='include_dir = "conf.d"\n[[acl]]\ntopic = "a\\u007f\\u202eb\\U000e0001"\n')
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "x\n\x1b[2J.toml").write_text("max_sessions = 3\n")
    text = printed(path)
    assert all(char.isprintable() for char in text.replace("\n", "")) and "/x\\n\\x1b[2J.toml\nmax_sessions = 3\n" in text
    values = tomllib.loads(text)
    assert values["max_sessions"] == 3 and values["acl"] == [{"topic": "a\x7f\u202eb\U000e0001"}]
    (tmp_path / "conf.d" / "x\n\x1b[2J.toml").write_text('"no\\u001bsuch" = 3\n')
    assert "unknown option no\\x1bsuch" in refused(path)


MAIN = 'include_dir = "conf.d"\nmax_sessions = 50\n[[listener]]\nid = "lan"\nport = 1901\n'


def test_all_files_of_the_folder_in_the_order_of_their_names(folder, tmp_path):
    path = folder(
        broker_toml=MAIN,
        conf_d__20_toml='[[listener]]\nid = "third"\nport = 1903\n[store]\ntype = "sqlite"\nfile = "x.db"\n',
        conf_d__10_toml='max_qos = 1\n[[listener]]\nid = "second"\nport = 1902\n[[acl]]\ntopic = "a"\n',
        conf_d__A_toml='[[acl]]\ntopic = "b"\n',
        conf_d__30_toml="",
        conf_d__notes_txt="not = = TOML",
    )
    (tmp_path / "conf.d" / ".hidden.toml").write_text("not = = TOML")
    text = printed(path)
    values = tomllib.loads(text)
    assert (values["max_sessions"], values["max_qos"]) == (50, 1)
    assert [listener["id"] for listener in values["listener"]] == ["lan", "second", "third"]
    assert [rule["topic"] for rule in values["acl"]] == ["a", "b"]
    assert values["store"]["file"] == str(tmp_path / "conf.d" / "x.db")  # relative to the file it stands in
    assert "include_dir" not in values


def test_what_is_printed_says_where_it_comes_from(folder, tmp_path):
    path = folder(
        broker_toml='port = 1900\n' + MAIN,
        conf_d__10_toml='max_qos = 1\nmax_inflight = 3\n[[listener]]\nid = "second"\nport = 1902\n[[acl]]\ntopic = "a"\n',
        conf_d__20_toml='[[auth]]\ntype = "users"\nusers = { bob = "%s" }\n[[acl]]\ntopic = "b"\n[store]\ntype = "sqlite"\nfile = "x.db"\n' % RECORD,
    )  # fmt: skip
    lines = printed(path, "--max-inflight", "5").splitlines()
    one, two = (str(tmp_path / "conf.d" / name) for name in ("10.toml", "20.toml"))
    assert lines[1] == "# Read from %s, %s, %s." % (path, one, two)

    def before(line, start=0):
        """What stands above a line, and where that is."""
        at = lines.index(line, start)
        return lines[at - 1], at

    assert before("max_qos = 1")[0] == "# from " + one and before("max_sessions = 50")[0] == "# from " + path
    assert not before("max_inflight = 5")[0].startswith("# from")
    listeners, start = [], 0
    for _ in range(3):
        found, at = before("[[listener]]", start)
        listeners.append(found)
        start = at + 1
    assert listeners == ["", "# from " + path, "# from " + one]
    found, at = before("[[acl]]")
    assert found == "# from " + one and before("[[acl]]", at + 1)[0] == "# from " + two
    assert before("[[auth]]")[0] == before("[store]")[0] == "# from " + two


def test_one_file_alone_is_not_told(folder):
    text = printed(folder(broker_toml="max_qos = 1\n"))
    assert "# from" not in text and "# Read from" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_sessions = 60", "DIR/conf.d/10.toml: max_sessions is set in DIR/broker.toml, too"),
        ("[listener]\nid = 'x'", "DIR/conf.d/10.toml: listener is set in DIR/broker.toml, too"),
        ("listener = [1]", "DIR/conf.d/10.toml: listener is set in DIR/broker.toml, too"),
        ("max_qos = 9", "DIR/conf.d/10.toml:1: max_qos must be from 0 to 2, not 9"),
        ("max_qs = 1", "DIR/conf.d/10.toml:1: unknown option max_qs, did you mean max_qos?"),
        ("[[listener]]\nid = 'lan'", "DIR/conf.d/10.toml:2: listener lan: there are two with this id"),
        ("[[listener]]\nid = 'x'\nauth = ['y']", "DIR/conf.d/10.toml:3: listener x: unknown auth y"),
        ("[[auth]]\ntype = 'password_file'\nfile = 'no.txt'", "DIR/conf.d/10.toml:3: cannot read DIR/conf.d/no.txt"),
        ("log_level = 'loud'", "DIR/conf.d/10.toml:1: log_level must be one of"),
        ("max_qos = = 1", "DIR/conf.d/10.toml: Invalid value"),
        ("include_dir = 'x'", "DIR/conf.d/10.toml: include_dir is for DIR/broker.toml only"),
    ],
)
def test_mistakes_are_told_with_the_file(folder, tmp_path, text, message):
    path = folder(broker_toml=MAIN, conf_d__00_toml="max_retained_messages = 1\n", conf_d__10_toml=text, conf_d__20_toml="sys_interval = 1\n")
    assert refused(path).startswith(message.replace("DIR", str(tmp_path)))


def test_a_mistake_in_the_main_file_or_the_command_line(folder):
    path = folder(broker_toml=MAIN + "auth = ['y']\nmax_inflight = 0\n", conf_d__10_toml="max_qos = 1\n")
    assert refused(path).startswith(path + ":6: listener lan: unknown auth y")
    path = folder(broker_toml=MAIN + "auth = ['y']\n", conf_d__10_toml="[[auth]]\ntype = 'allow'\nname = 'y'\n")
    assert "y" in printed(path)  # what one file names may stand in another
    assert refused(path, "--max-qos", "9") == "max_qos must be from 0 to 2, not 9"


def test_a_folder_that_is_none(folder, tmp_path):
    assert "cannot read the include_dir %s/conf.d: No such file" % tmp_path in refused(folder(broker_toml=MAIN))
    for value in ("5", "''", "['a']"):
        text = refused(folder(broker_toml="include_dir = " + value))
        assert text.startswith("%s/broker.toml: include_dir must be the name of a folder, not" % tmp_path)
    assert refused(folder(broker_toml="include_dir = '.'")).endswith("broker.toml: the include_dir must not hold this file itself")
    assert "did you mean include_dir?" in refused(folder(broker_toml="include_dirs = '.'"))
