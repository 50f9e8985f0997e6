"""What LaTeX makes of our tables: a real TeX, where there is one."""

import os
import shutil
import subprocess

import pytest
from by_hand import base, row

from im_bench.config import Report
from im_bench.report.formats import to_latex
from im_bench.report.pivot import Form, pivot
from im_bench.report.published import printed_alone
from im_bench.report.tables import Difference, benchmark_table, category_table

WANTED = Report(baseline="it", reading="corrected")
HOSTILE = r"a_b&c%d#e$f{g}~h^i\j[k]<l>|m"


@pytest.fixture
def pdf(tmp_path):
    """Compiles tables into a document of one page each; the log, in which TeX names what does not fit."""
    if shutil.which("pdflatex") is None:
        if os.environ.get("IM_BENCH_REQUIRE_TEX") == "1":
            pytest.fail("there is no pdflatex; make tex installs one")
        pytest.skip("there is no pdflatex")

    def compiled(*tables):
        pages = "\n\\clearpage\n".join(to_latex(table) for table in tables)
        source = "\\documentclass[twocolumn]{article}\n\\usepackage{booktabs}\n\\usepackage[margin=2cm]{geometry}\n"
        (tmp_path / "paper.tex").write_text(f"{source}\\begin{{document}}\n{pages}\n\\end{{document}}\n")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / "paper.pdf").stat().st_size > 10_000
        return (tmp_path / "paper.log").read_text(errors="replace")

    return compiled


def whole():
    names = [
        "mmlu",
        "lambada_multilingual",
        "winogrande",
        "gsm8k",
        "bbh",
        "ethics",
        "mt_bench",
        "alpaca_eval_2",
    ]
    rows = [row(name, 0.1, loss=loss, count=9) for name in names for loss in ("it", "neftune", "im")]
    return [base(name, 0.2) for name in names] + rows


def test_tables_of_every_form_compile_and_fit_the_page(pdf):
    table = category_table(whole(), name="small", wanted=WANTED)
    assert isinstance(table.scored[2].differences[0], Difference)
    layout = pivot(whole(), Form(("benchmark", "loss"), ("dataset",)), name="small", wanted=WANTED)
    log = pdf(table, benchmark_table(whole(), name="small", wanted=WANTED), layout)
    assert "Overfull" not in log


def test_names_that_tex_would_read_as_its_own_compile(pdf):
    pdf(category_table([row("mmlu", 0.3, dataset=HOSTILE, model=HOSTILE)], name=HOSTILE, wanted=WANTED))


def test_marks_and_the_paper_s_numbers_compile(pdf):
    cells = printed_alone(1)
    table = category_table(whole(), name="small", wanted=WANTED, printed=cells)
    log = pdf(table)
    assert "Missing character" not in log
