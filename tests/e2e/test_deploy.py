"""examples/deploy: what its files say of Oar is so. Every option, path of a probe, metric and package is looked up."""
import json
import re
import shutil
import subprocess
import urllib.request

import pytest
import yaml

from conftest import DEMO, OAR, ROOT, Server, run_oar

DEPLOY = ROOT / "examples" / "deploy"
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes.yml").read_text()))
BODY = json.dumps({"feed": [{"x": [0.0] * 10}]}).encode()


def options():
    return set(re.findall(r"^  (--[\w-]+)", run_oar("serve", "--help").stdout, re.M))


def continued(text):
    """Its lines, those that end with a backslash joined with the next."""
    return text.replace("\\\n", " ").splitlines()


def words_of_docker(instruction):
    return json.loads(re.search(rf"^{instruction} (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.M)[1])


@pytest.fixture(scope="module")
def samples():
    """The names of all samples, and the names of all labels, of a server that batches and caches and was asked."""
    with Server("--model", DEMO, "--runtime-thread-num", 1, "--request-cache-size", 1000000) as s:
        request = urllib.request.Request(f"http://{s.address}/diabetes/prediction", BODY, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()
        text = urllib.request.urlopen(f"http://{s.address}/metrics", timeout=10).read().decode()
    return set(re.findall(r"^(\w+)[{ ]", text, re.M)), set(re.findall(r'(\w+)="', text))


def expressions():
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", []))
    yield from (variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query")
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_dashboard_and_alerts_ask_for_metrics_that_are(samples):
    names, labels = samples
    labels |= {"instance", "job"}  # which Prometheus adds
    count = 0
    for expression in expressions():
        asked = set(re.findall(r"\b(?:oar|process)_\w+", expression))
        assert asked and asked <= names, (expression, asked - names)
        by = {label for list_ in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r",\s*", list_)}
        matched = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
        assert by | matched <= labels, (expression, (by | matched) - labels)
        count += 1
    assert count > 25


def test_alerts_name_ends_of_requests_that_are():
    header = (ROOT / "src" / "base" / "err.h").read_text()
    ends = set(re.findall(r'^    X\(.*?"(.*?)"\)', header, re.M))
    (named,) = re.findall(r'result=~"([^"]*)"', (DEPLOY / "alerts.yml").read_text())
    assert set(named.split("|")) <= ends


def test_the_unit_and_the_manifest_name_options_that_are():
    known = options()
    (start,) = [line for line in (DEPLOY / "oar.service").read_text().splitlines() if line.startswith("ExecStart=")]
    container = KUBERNETES[0]["spec"]["template"]["spec"]["containers"][0]
    for words in (start.split(), container["args"], words_of_docker("CMD")):
        given = {word for word in words if word.startswith("--")}
        assert given and given <= known, given - known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_unit_is_a_unit(tmp_path):
    unit = tmp_path / "oar.service"
    unit.write_text((DEPLOY / "oar.service").read_text().replace("/usr/local/bin/oar", str(OAR)))
    done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", str(unit)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "oar.service" not in done.stderr, done.stderr


def test_probes_are_answered():
    spec = KUBERNETES[0]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    probes = [container[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
    with Server("--model", DEMO) as s:
        for probe in probes:
            assert probe["port"] in {port["name"] for port in container["ports"]}
            assert urllib.request.urlopen(f"http://{s.address}{probe['path']}", timeout=10).status == 200
        (health,) = re.findall(r'^HEALTHCHECK .*?CMD \["oar", (.*)\]', (DEPLOY / "Dockerfile").read_text(), re.M)
        words = [word.replace("127.0.0.1:9292", s.address) for word in json.loads(f"[{health}]")]
        assert run_oar(*words).returncode == 0
    assert spec["terminationGracePeriodSeconds"] > 30 + 5  # the drain, behind preStop


def test_the_image_has_the_libraries_of_the_binary():
    """Each library is of a package that the Dockerfile installs, or of one that every Debian has."""
    dockerfile = " ".join(continued((DEPLOY / "Dockerfile").read_text()))
    linked = re.findall(r"=> (\S+)", subprocess.run(["ldd", OAR], capture_output=True, text=True, check=True).stdout)
    linked += [f"/usr{path}" for path in linked]  # a package may know it by either
    listed = subprocess.run(["dpkg", "-S", *linked], capture_output=True, text=True).stdout if shutil.which("dpkg") else ""
    packages = {line.split(":")[0] for line in listed.splitlines()} - {"libc6", "libgcc-s1"}
    if not packages:  # not Debian, or libraries known by another path
        pytest.skip("no packages here")
    assert packages <= set(dockerfile.split()), packages - set(dockerfile.split())
