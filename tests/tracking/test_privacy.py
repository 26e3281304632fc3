"""Filter of private paths: obeys (no user name passes, harmless texts stay, applying it twice changes nothing)."""

import re

import pytest

from vitsweep.tracking.privacy import without_paths

PRIVATE = [
    ("/home/ada/my data", "<path>"),
    ("data.root=/home/ada/a b", "data.root=<path>"),
    ("+data.root=~/images", "+data.root=<path>"),
    ("../ada/images", "<path>"),
    ("C:\\Users\\ada\\x", "<path>"),
    ("\\\\server\\ada", "<path>"),
    ("file:///home/ada", "<path>"),
    ("sqlite:////home/ada/mlflow.db", "<path>"),
    ("no such file: '/home/ada/x y.png'", "no such file: <path>"),
    ("tried /home/ada/a, /home/ada/b", "tried <path>, <path>"),
    ("pkg @ file:///home/ada/pkg", "pkg @ <path>"),
    ('File "/home/ada/v/train.py", line 3', "File <path>, line 3"),
    ("data.root=/home/ada/x  holds no images; use a/b", "data.root=<path>  holds no images; use a/b"),
    ("cannot read /home/ada because it is missing", "cannot read <path> because it is missing"),
    ("https://ada:secret@host/x", "https://host/x"),
    ("DIR:/home/ada", "DIR:<path>"),
    ("git+https://ada@host/x", "git+https://host/x"),
    ("https://a:b@ada@host/x", "https://host/x"),
]
FOLDERS = [
    "/home/ada smith",
    "/home/ada smith/data",
    "/home/ada [lab]/data",
    "/home/[ada]/data",
    "/home/ada(lab)/data",
    "/home/ada, smith/data",
    "/home/ada,smith/data",
    "/home/o'ada/data",
    "/mnt/lab of ada/data",
    "file:///home/ada",
    "file:/home/ada",
    "sqlite:////home/ada/mlflow.db",
    "sqlite+pysqlite:////home/ada/mlflow.db",
    "//server/ada",
    "//ada/share",
    "~ada",
    "~ada/x",
    "/opt/x:/home/ada/y",
    "ada@host:/home/ada/x",
    "ssh://ada@host/home/ada",
    "C:\\Users\\ada smith\\x",
    "C:/Users/ada/x",
]
SENTENCES = ["{}", "data.root={}", "cannot read {}", "cannot read '{}'", 'no "data.root={}"', "x in {}: no"]
HARMLESS = [
    "train/loss",
    "https://host/a/b",
    "see https://host/x and a/b",
    "model/patch_size=p4",
    "a / b",
    "a:b/c",
    "images/s 1/2",
    "3/4 of 1/2",
    "ratio 4:3/2",
    "80 +/- 2",
    "7 // 2",
    "patch_size=8+lr=0.002",
    "2026-01-01T00:00:00+00:00",
    "01/02/2026",
    "baseline-12345678/seed=0",
    "~hydra.callbacks.report",
    "~3 minutes",
    "(a+b)/c",
    "x[0]/y[1]",
    "</b>",
    "HTTP/1.1 404",
    "tag(log,interval(1e-4,1e-2))",
]


@pytest.mark.parametrize(("text", "kept"), PRIVATE, ids=[text for text, _ in PRIVATE])
def test_paths_are_hidden(text, kept):
    assert without_paths({"list": [text]}) == {"list": [kept]}


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("folder", FOLDERS)
def test_no_user_name_passes(folder, sentence):
    shown = without_paths(sentence.format(folder))
    assert not re.search("ada|smith|lab", shown.replace("data", ""))
    assert without_paths(shown) == shown


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_stay(text):
    assert without_paths(text) == text
