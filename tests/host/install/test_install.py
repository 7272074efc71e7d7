"""What `pip install .` brings: a command, two packages, and nothing of an earlier build."""

import subprocess
import sys
import zipfile

import pytest

from toolchain import ROOT


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def build(folder, source=ROOT, kind="wheel"):
    """A package of this checkout."""
    done = run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder), cwd=source)
    assert not done.returncode, done.stderr
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of a virtual environment with nothing but the broker in it."""
    folder = tmp_path_factory.mktemp("installed")
    wheel = build(folder / "wheel")
    assert not run(sys.executable, "-m", "venv", str(folder / "venv")).returncode
    python = folder / "venv" / "bin" / "python"
    done = run(str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-index", str(wheel))
    assert not done.returncode, done.stderr
    return python


@pytest.mark.parametrize("command", [["ucomqtt"], ["python", "-m", "ucomqtt"], ["python", "-m", "port.cpython"]])
def test_commands(installed, tmp_path, command):
    """All of them are the same program, and say what they were started as."""
    done = run(str(installed.parent / command[0]), *command[1:], "--version", cwd=tmp_path)
    assert done.returncode == 0 and "0.1.0" in done.stdout + done.stderr
    done = run(str(installed.parent / command[0]), *command[1:], "--help", cwd=tmp_path)
    name = "python3 -m port.cpython" if command[-1] == "port.cpython" else "ucomqtt"
    assert done.stdout.startswith(f"usage: {name} ")


def test_public_names(installed, tmp_path):
    done = run(str(installed), "-c", "import ucomqtt, port.cpython as p; print([n for n in p.__all__ "
               "if getattr(p, n) is not getattr(ucomqtt, n)], sorted(set(ucomqtt.__all__) - set(p.__all__)))", cwd=tmp_path)
    assert done.stdout == "[] ['__version__']\n", done.stderr


def test_something_else_called_port(installed, tmp_path):
    (tmp_path / "port.py").write_text("")
    done = run(str(installed), "-c", "from ucomqtt import Server", cwd=tmp_path)
    assert done.stderr.endswith(f"ImportError: {tmp_path}/port.py hides the package `port` of ucomqtt: give it another name\n")


def test_manual_and_completion(installed):
    share = installed.parent.parent / "share"
    for name in ("man/man1/ucomqtt.1", "man/man5/ucomqtt.toml.5", "bash-completion/completions/ucomqtt", "zsh/site-functions/_ucomqtt",
                 "fish/vendor_completions.d/ucomqtt.fish"):  # fmt: skip
        assert (share / name).stat().st_size > 1000


def test_every_name_of_the_package(installed, tmp_path):
    """What is not there is an AttributeError; `testing` needs nothing else."""
    done = run(str(installed), "-c", "import ucomqtt.testing as t, ucomqtt as u; print(t.broker, u.Server, hasattr(u, 'Servr'), dir(u)[-6:])",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0 and " False [" in done.stdout, done.stderr


def test_nothing_of_an_earlier_build(tmp_path):
    """A module that is gone is not in the next wheel; and a wheel can be made of the sdist."""
    sdist = build(tmp_path / "sdist", kind="sdist")
    assert not run("tar", "-xf", str(sdist), "-C", str(tmp_path)).returncode
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    extra = source / "port" / "cpython" / "extra.py"
    extra.write_text("")
    first = set(zipfile.ZipFile(build(tmp_path / "first", source)).namelist())
    extra.unlink()
    second = set(zipfile.ZipFile(build(tmp_path / "second", source)).namelist())
    assert first - second == {"port/cpython/extra.py"}
    assert {"ucomqtt/py.typed", "port/core/py.typed", "port/cpython/py.typed"} < second
    assert not any(name.startswith(("port/micropython", "tests", "tools")) for name in second)
