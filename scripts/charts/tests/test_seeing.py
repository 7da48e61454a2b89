"""Alerts and dashboards are over metrics that the services have; what is generated is fresh."""

import re

import pytest
import yaml

import generate
from dashboards import DASHBOARDS, dashboard
from profiles import CHART, ROOT

ALERTS = [rule for group in yaml.safe_load((CHART / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
QUERIES = [(f"alert {rule['alert']}", rule["expr"]) for rule in ALERTS] + [
    (f"dashboard {name}: {panel['title']}", target["expr"])
    for name in DASHBOARDS for panel in dashboard(name)["panels"] for target in panel["targets"]
]


def emitted():
    """Name of a metric to its kind and labels, from the macros in the code."""
    found = {}
    for folder in ("crates", "services"):
        for file in (ROOT / folder).rglob("src/**/*.rs"):
            for kind, arguments in re.findall(r"\b(counter|gauge|histogram)!\(([^;]*?)\)\s*\.", file.read_text(), re.S):
                name = re.search(r'"(trama_[a-z_]+)"', arguments)
                if name:
                    labels = set(re.findall(r'"([a-z_]+)"\s*=>', arguments))
                    found.setdefault(name[1], (kind, set()))[1].update(labels)
    return found


EMITTED = emitted()


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_a_query_asks_for_metrics_and_labels_that_exist(where, query):
    names = set(re.findall(r"\btrama_[a-z_]+\b", query))
    assert names, where
    labels = set()
    for name in names:
        base = re.sub(r"_(bucket|sum|count)$", "", name) if re.sub(r"_(bucket|sum|count)$", "", name) in EMITTED else name
        assert base in EMITTED, f"{where}: nobody emits {name}"
        kind, own = EMITTED[base]
        assert (kind == "histogram") == (base != name), f"{where}: {name} is a {kind}"
        labels |= own
    asked = set(re.findall(r"\b([a-z_]+)\s*=~?\"", query)) | {
        label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")
    }
    # le comes with histograms, service from the monitor's relabelling.
    assert asked <= labels | {"le", "service"}, where
    assert query.count("(") == query.count(")"), where


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule):
    assert set(rule) <= {"alert", "expr", "for", "severity", "summary", "description"}
    assert rule["severity"] in ("critical", "warning", "info") and len(rule["description"]) > 30
    assert len(re.findall(r"\{\{", rule["summary"])) == len(re.findall(r"\}\}", rule["summary"]))


def test_panels_do_not_lie_over_each_other():
    for name in DASHBOARDS:
        taken = set()
        for panel in dashboard(name)["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            assert not cells & taken and place["x"] + place["w"] <= 24, (name, panel["title"])
            taken |= cells


@pytest.mark.parametrize("path", generate.files(), ids=lambda path: path.name)
def test_what_is_generated_is_fresh(path):
    assert path.read_text() == generate.files()[path], "run scripts/charts/generate"
