"""Every model of the zoo in every form, as tools/zoo_check runs it, against what the framework recorded.

The zoo lies beside the checkout (../shared/zoo/small) or where OAR_ZOO points; where there is none, the models that
ship with the tests are all there is. zoo_pending.txt lists the forms that do not pass yet: a line that is no longer
true is a failure too.
"""
import os
import subprocess
import sys

import pytest
from conftest import OAR, ROOT

WHOLE_ZOO = os.environ.get("OAR_ZOO", ROOT.parent / "shared" / "zoo" / "small")


def zoo_check(*arguments):
    return subprocess.run([sys.executable, ROOT / "tools" / "zoo_check", "--oar", OAR, *arguments], capture_output=True, text=True)


@pytest.mark.skipif(not os.path.isdir(WHOLE_ZOO), reason="no zoo beside the checkout")
def test_every_form_answers_as_the_framework_did():
    done = zoo_check("--quiet", "--zoo", WHOLE_ZOO, "--pending", ROOT / "tests" / "e2e" / "zoo_pending.txt")
    assert done.returncode == 0, done.stdout + done.stderr


def test_models_of_the_tests_answer_as_the_framework_did():
    done = zoo_check("--quiet", "--zoo", ROOT / "tests" / "data" / "zoo")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_answer_is_told(tmp_path):
    import numpy as np
    form = tmp_path / "fit_a_line" / "pdmodel26"
    form.mkdir(parents=True)
    for path in (ROOT / "tests" / "data" / "zoo" / "fit_a_line" / "pdmodel26").iterdir():
        (form / path.name).write_bytes(path.read_bytes())
    recorded = dict(np.load(form / "case_0.out.npz"))
    np.savez(form / "case_0.out.npz", out0=recorded["out0"] + np.float32(1))
    done = zoo_check("--zoo", tmp_path)
    assert done.returncode == 1
    assert "fit_a_line/pdmodel26: differs by" in done.stdout
