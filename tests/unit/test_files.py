"""Outputs: files appear whole, and what is no file is written into."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jomold_dist.files import check_output, is_stream, write_text, writing

ROOT = Path(__file__).resolve().parents[2]


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


def test_a_file_that_fails_half_way_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    write_text(path, "before")

    def half() -> None:
        with writing(path) as aside:
            aside.write_text("hal")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_text() == "before"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_permissions_stay(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    path.chmod(mode)
    write_text(path, "after")
    assert path.stat().st_mode & 0o777 == mode


def test_a_new_file_has_the_permissions_that_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        write_text(tmp_path / "out.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "dangling"])
def test_a_link_stays_and_its_target_is_written(there: bool, tmp_path: Path) -> None:
    target, link, second = tmp_path / "far" / "real.csv", tmp_path / "link.csv", tmp_path / "second.csv"
    target.parent.mkdir()
    if there:
        target.write_text("before")
    link.symlink_to("far/real.csv")
    second.symlink_to(link)
    for path in (link, second):
        write_text(path, f"by {path.name}")
        assert path.is_symlink()
        assert target.read_text() == f"by {path.name}"
    assert leftovers(tmp_path) == leftovers(target.parent) == []


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "text")
    reader.join()
    assert heard == ["text"]
    assert is_stream(pipe)
    assert pipe.is_fifo()


def test_null_stays_what_it_is(tmp_path: Path) -> None:
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    write_text(null, "text")
    assert null.is_char_device()


@pytest.mark.parametrize("where", ["/dev/stdout", "/dev/fd/1", "link"])
def test_stdout_in_a_file_is_written_in_order(where: str, tmp_path: Path) -> None:
    """What was printed before stays before, and what is printed after comes after."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    program = (
        "from pathlib import Path; from jomold_dist.files import write_text\n"
        f"print('before'); write_text(Path({where!r}), 'content\\n'); print('after')"
    )
    out = tmp_path / "out.txt"
    out.write_text("of an earlier command\n")
    with out.open("a") as file:
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, stdout=file, check=True,
                       env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert out.read_text() == "of an earlier command\nbefore\ncontent\nafter\n"


def test_two_writers_of_one_file_write_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with writing(path) as first, writing(path) as second:
        first.write_text("first")
        second.write_text("second, half")
    assert path.read_text() == "first"
    assert leftovers(tmp_path) == []


def test_what_a_killed_process_has_left_goes_after_a_day(tmp_path: Path) -> None:
    old, young = tmp_path / ".out.txt.1-a.partial", tmp_path / ".out.txt.2-b.partial"
    for leftover in (old, young):
        leftover.write_text("")
    os.utime(old, (0, 0))
    with writing(tmp_path / "out.txt", leftovers=False) as aside:
        aside.touch()
    assert leftovers(tmp_path) == [old.name, young.name]  # nobody has looked
    write_text(tmp_path / "out.txt", "text")
    assert leftovers(tmp_path) == [young.name]


def test_what_cannot_be_written_is_told_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("no/such/file")
    check_output(tmp_path / "new")
    check_output(tmp_path / "file")
    for path, error in (
        (tmp_path, IsADirectoryError),
        (tmp_path / "no" / "folder", FileNotFoundError),
        (tmp_path / "file" / "below", NotADirectoryError),
        (tmp_path / "nowhere", FileNotFoundError),
        (tmp_path / "circle", OSError),
    ):
        with pytest.raises(error):
            check_output(path)
        with pytest.raises(error), writing(path) as aside:
            aside.write_text("text")
    assert (tmp_path / "circle").is_symlink()
    assert leftovers(tmp_path) == []
