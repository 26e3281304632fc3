"""Compile a table inside an A4 article and read the log: errors, lines that are too wide, floats that are too high."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PDFLATEX = shutil.which("pdflatex")
XELATEX = shutil.which("xelatex")
needs_pdflatex = pytest.mark.skipif(
    PDFLATEX is None, reason="needs pdflatex (Debian: apt-get install texlive-latex-base texlive-latex-recommended)"
)
needs_xelatex = pytest.mark.skipif(XELATEX is None, reason="needs xelatex (Debian: apt-get install texlive-xetex)")
WRONG = re.compile(r"^! .*|^Overfull .*|^.*Float too large.*|^Missing character.*|^LaTeX Error.*", re.MULTILINE)


def compile_table(table: str, folder: Path, size: int = 10, program: str = "pdflatex", preamble: str = "") -> list[str]:
    """Return the errors and warnings about a table in an article of this base size; its PDF is `folder`/page.pdf.

    The packages are those that the table's first line names.
    """
    named = re.match(r"% Packages: (.*)\.\n", table)
    assert named is not None
    text = rf"\documentclass[a4paper,{size}pt]{{article}}\usepackage{{{named[1].replace(' ', '')}}}{preamble}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.tex").write_text(table, encoding="utf-8")
    (folder / "page.tex").write_text(rf"{text}\begin{{document}}\input{{table}}\end{{document}}")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "max_print_line": "1000"}
    for _ in range(3 if "longtable" in named[1] else 1):  # its columns grow to their widths from run to run
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)
    return WRONG.findall((folder / "page.log").read_text(encoding="utf-8", errors="replace"))
