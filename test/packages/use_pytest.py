"""pytest runs the tests of a file."""
import os

import pytest

TESTS = '''
import logging

import pytest


@pytest.fixture
def number():
    yield 2
    print("torn down")


@pytest.mark.parametrize("add", [1, 2])
def test_adds(number, add):
    assert number + add in (3, 4)


def test_output(capsys, caplog, tmp_path, monkeypatch):
    print("captured")
    assert capsys.readouterr().out == "captured\\n"
    logging.getLogger("some").warning("logged")
    assert caplog.messages == ["logged"]
    monkeypatch.setenv("SOME", "1")
    (tmp_path / "file").write_text("text")


def test_fails(number):
    assert number == 3
'''


def work(folder):
    path = os.path.join(folder, "test_some.py")
    with open(path, "w") as file:
        file.write(TESTS)
    args = [path, "--quiet", "-p", "no:cacheprovider", f"--rootdir={folder}", "--color=no"]
    return int(pytest.main(args))
