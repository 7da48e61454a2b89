"""The kinds, as a real API server takes them."""

import pytest
import yaml
from cluster import Refused, example, queue
from test_crds import BAD, EXAMPLES, changed, label

# Printed by `kubectl get`, in this order.
COLUMNS = {
    "channels": "NAME MAIL WHATSAPP VOICE SMS LANGUAGE ACCEPTED READY REASON AGE",
    "queues": "NAME TARGET GOAL HOURS PRIORITY ACCEPTED READY REASON AGE",
    "surveys": "NAME TRIGGER SAMPLE QUESTIONS ACCEPTED READY REASON AGE",
}


def test_every_definition_is_established_and_structural(cluster):
    for definition in cluster.definitions:
        conditions = cluster.conditions("crd", definition["metadata"]["name"])
        assert conditions["Established"][0] == "True" and conditions["NamesAccepted"][0] == "True", conditions
        # Says what in a schema is not structural.
        assert "NonStructuralSchema" not in conditions, conditions


def test_what_the_server_keeps_of_a_definition_is_what_was_applied(cluster):
    def without_rules(node):
        if isinstance(node, dict):
            return {k: without_rules(v) for k, v in node.items() if k != "x-kubernetes-validations"}
        return [without_rules(v) for v in node] if isinstance(node, list) else node

    for definition in cluster.definitions:
        [wanted] = definition["spec"]["versions"]
        [kept] = cluster.get("crd", definition["metadata"]["name"])["spec"]["versions"]
        if not cluster.has_rules:
            wanted = without_rules(wanted)
        assert kept["schema"] == wanted["schema"], definition["metadata"]["name"]
        assert kept["additionalPrinterColumns"] == wanted["additionalPrinterColumns"]


@pytest.mark.parametrize("document", EXAMPLES, ids=label)
def test_every_example_is_applied_and_kept_whole(cluster, document):
    assert document["metadata"]["namespace"] == "acme"
    cluster.apply(document)
    kept = cluster.get(document["kind"], document["metadata"]["name"], "-n", "acme")
    assert kept["spec"] == document["spec"], "a schema that lacks a field drops it"


@pytest.mark.parametrize("plural", COLUMNS)
def test_the_columns_that_help_are_printed(cluster, plural):
    header, *rows = cluster.kubectl("get", plural, "-n", "acme", "--show-managed-fields=false").splitlines()
    assert header.split() == COLUMNS[plural].split()
    assert rows


def test_wide_output_adds_the_message(cluster):
    header, *_ = cluster.kubectl("get", "queues", "-n", "acme", "-o", "wide").splitlines()
    assert "MESSAGE" in header


def test_one_word_shows_all_kinds(cluster):
    shown = cluster.kubectl("get", "trama", "-n", "acme", "-o", "name").split()
    assert len(shown) >= len(EXAMPLES)


def test_short_names_work(cluster):
    for definition in cluster.definitions:
        [short] = definition["spec"]["names"]["shortNames"]
        cluster.kubectl("get", short, "-n", "acme")


@pytest.mark.parametrize(("kind", "name", "path", "value", "word"), BAD, ids=[f"{k}.{p}={str(v)[:24]}" for k, _, p, v, _ in BAD])
def test_a_bad_example_is_refused(cluster, kind, name, path, value, word):
    document = changed(kind, name, path, value)
    document["metadata"] |= {"name": f"bad-{name}", "namespace": "elsewhere"}
    try:
        cluster.apply(document)
    except Refused:
        return
    # A server from before CEL lets through what rules say; test_replicas has the services refuse it.
    assert not cluster.has_rules and is_rule(document), yaml.safe_dump(document)
    cluster.kubectl("delete", kind, f"bad-{name}", "-n", "elsewhere")


def is_rule(document):
    """Whether the schema alone has nothing against it."""
    import jsonschema
    from test_crds import schema_of, unknown

    schema = schema_of(document["kind"])
    return not [*jsonschema.Draft4Validator(schema).iter_errors(document), *unknown(schema, document)]


def test_names_are_those_of_kubernetes(cluster):
    with pytest.raises(Refused, match="metadata.name"):
        cluster.apply(queue("my_care", "elsewhere"))


def test_a_status_cannot_be_applied_with_the_spec(cluster):
    document = example("Queue", "care")
    document["metadata"] |= {"name": "boasting", "namespace": "elsewhere"}
    document["status"] = {"conditions": [], "observedGeneration": 9}
    cluster.apply(document)
    assert "status" not in cluster.get("queue", "boasting", "-n", "elsewhere")
    cluster.kubectl("delete", "queue", "boasting", "-n", "elsewhere")
