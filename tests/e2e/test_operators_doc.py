"""docs/OPERATORS.md says what the tables in the code say."""
from conftest import ROOT, run_oar


def operators(text):
    """Without the kernels, which come and go more often than the list is made."""
    heading = text.index("## What they become")
    return text[:heading].splitlines() + [line.rsplit("|", 2)[0] for line in text[heading:].splitlines()]


def test_the_list_of_operators_is_up_to_date():
    done = run_oar("inspect", "--operators")
    assert done.returncode == 0, done.stderr
    written = (ROOT / "docs" / "OPERATORS.md").read_text()
    assert operators(written) == operators(done.stdout), "run tools/operators_doc and commit docs/OPERATORS.md"


def test_the_list_names_operators_of_each_format():
    rows = run_oar("inspect", "--operators").stdout.splitlines()
    assert "| `conv2d` | `conv2d` | `conv2d` |" in rows
    assert any(row.startswith("| `LayerNormalization` |") for row in rows)
    assert any(row.startswith("| `attention` |") for row in rows)


def test_every_operator_of_the_list_says_what_becomes_of_it():
    text = run_oar("inspect", "--operators").stdout
    assert "(null)" not in text
    assert "| `recurrent` |  | `while` |" in text.splitlines()
    assert "| `Constant` | a constant |" in text.splitlines()
