"""The CRDs: structural, affordable, and of one mind with the services about examples, good and bad."""

import copy
import re

import celpy
import jsonschema
import kubernetes_validate
import pytest
import yaml
from celpy import json_to_cel

from profiles import CRDS, ROOT, render

DEFINITIONS = {d["spec"]["names"]["kind"]: d for d in (yaml.safe_load(f.read_text()) for f in sorted((CRDS / "files").glob("*.yaml")))}
CEL = celpy.Environment()
# What a schema node may hold by apiextensions/v1, beside values in junctors (of which we have none).
KNOWN = {
    "type", "description", "properties", "items", "additionalProperties", "required", "enum", "format", "pattern",
    "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}
FORMATS = {"int32", "int64", "float", "double", "date-time"}


def schema_of(kind):
    [version] = DEFINITIONS[kind]["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def nodes(node, path="", bound=1):
    """Every schema node with its path and how many of it there can be at most."""
    yield path, node, bound
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}", bound)
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]", bound * node.get("maxItems", 10**6))
    if isinstance(node.get("additionalProperties"), dict):
        yield from nodes(node["additionalProperties"], f"{path}{{}}", bound * node.get("maxProperties", 10**6))


each_kind = pytest.mark.parametrize("kind", DEFINITIONS)


@each_kind
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_accepts_the_definition(kind, version):
    kubernetes_validate.validate(DEFINITIONS[kind], version, strict=True)


@each_kind
def test_the_schema_is_structural(kind):
    for path, node, _ in nodes(schema_of(kind)):
        assert set(node) <= KNOWN, (path, set(node) - KNOWN)
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields"), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert node.get("additionalProperties") is not False, path
        assert (node.get("type") == "array") == ("items" in node), path
        assert node.get("format", "int32") in FORMATS, path
        assert set(node.get("required", [])) <= set(node.get("properties", {})), path
        if "exclusiveMinimum" in node:
            assert isinstance(node["exclusiveMinimum"], bool) and "minimum" in node, path
        if "pattern" in node:
            re.compile(node["pattern"])


@each_kind
def test_rules_compile_say_what_is_wrong_and_are_affordable(kind):
    for path, node, bound in nodes(schema_of(kind)):
        for rule in node.get("x-kubernetes-validations", []):
            CEL.compile(rule["rule"])
            assert rule["message"], path
            # The API server multiplies a rule's cost by how often it can run; ten million is its limit for one rule.
            assert bound <= 20_000, f"{path}: give the lists around it maxItems"


@each_kind
def test_definitions_outlive_the_chart_and_are_found(kind):
    definition = DEFINITIONS[kind]
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    names = definition["spec"]["names"]
    assert definition["metadata"]["name"] == f"{names['plural']}.trama.dev" and names["categories"] == ["trama"]
    [version] = definition["spec"]["versions"]
    assert version["subresources"] == {"status": {}} and len(version["additionalPrinterColumns"]) >= 3


def test_short_names_are_told_apart():
    names = [n for d in DEFINITIONS.values() for n in [d["spec"]["names"]["plural"], d["spec"]["names"]["singular"], *d["spec"]["names"]["shortNames"]]]
    # BusinessHours is its own plural.
    assert len(names) - len(set(names)) == 1


@each_kind
def test_columns_show_fields_that_exist(kind):
    known = {path.replace("[]", "[*]") for path, _, _ in nodes(schema_of(kind))}
    [version] = DEFINITIONS[kind]["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        if column["jsonPath"].startswith(".spec"):
            # A key of a map is known by its map.
            of_map = column["jsonPath"].rpartition(".")[0] + "{}"
            assert column["jsonPath"] in known or of_map in known, column


def test_the_chart_renders_them_as_they_are():
    objects, _ = render({}, CRDS)
    assert {o["spec"]["names"]["kind"]: o for o in objects} == DEFINITIONS


def problems(document):
    """What an API server would say."""
    kind = document["kind"]
    schema = schema_of(kind)
    # Draft 4 has OpenAPI 3.0's exclusiveMinimum.
    found = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in jsonschema.Draft4Validator(schema).iter_errors(document)]
    found += unknown(schema, document)
    return found or broken(schema, document)


def unknown(node, value, path=""):
    """Fields that kubectl refuses (strict field validation)."""
    found = []
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return found
    if isinstance(value, dict):
        for key, child in value.items():
            if path == "" and key in ("apiVersion", "kind", "metadata"):
                continue
            below = node.get("properties", {}).get(key, node.get("additionalProperties"))
            if below is None:
                found.append(f"{path}.{key}: unknown field")
            else:
                found += unknown(below, child, f"{path}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            found += unknown(node.get("items", {}), child, f"{path}[{index}]")
    return found


def broken(node, value, path=""):
    """Rules in CEL that do not hold."""
    found = []
    for rule in node.get("x-kubernetes-validations", []):
        if not CEL.program(CEL.compile(rule["rule"])).evaluate({"self": json_to_cel(value)}):
            found.append(f"{path}: {rule['message']}")
    if isinstance(value, dict):
        for key, child in value.items():
            below = node.get("properties", {}).get(key, node.get("additionalProperties"))
            if below:
                found += broken(below, child, f"{path}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            found += broken(node.get("items", {}), child, f"{path}[{index}]")
    return found


def examples():
    for file in sorted((ROOT / "examples/resources").glob("*.yaml")):
        # As the folder source does, with the defaults of variables.
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", file.read_text())
        for document in yaml.safe_load_all(text):
            if document:
                yield document


EXAMPLES = list(examples())
label = lambda d: f"{d['kind']}/{d['metadata']['name']}"  # noqa: E731


@pytest.mark.parametrize("document", EXAMPLES, ids=label)
def test_every_example_is_accepted(document):
    assert problems(document) == []


def test_there_is_an_example_of_every_kind():
    assert {d["kind"] for d in EXAMPLES} == set(DEFINITIONS)


def test_names_of_examples_are_names_of_kubernetes():
    odd = {d["metadata"]["name"] for d in EXAMPLES if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", d["metadata"]["name"])}
    assert odd == set()


def changed(kind, name, path, value):
    """An example with one change. `path` is dotted, numbers are places in lists; None removes."""
    document = copy.deepcopy(next(d for d in EXAMPLES if d["kind"] == kind and d["metadata"]["name"] == name))
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = document["spec"]
    for step in way:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


STEP = {"afterSeconds": 60, "relaxLevelsTo": 1}
BAD = [
    ("Channel", "mail", "provider.email.relay", "relay.example", "relay"),
    ("Channel", "mail", "provider.email.relayUser", "me", "go together"),
    ("Channel", "mail", "provider.email.addresses", [], "addresses"),
    ("Channel", "mail", "provider.webChat", {"allowedOrigins": ["*"]}, "too many properties"),
    ("Channel", "mail", "provider", {}, "provider"),
    ("Channel", "mail", "colour", "red", "colour: unknown field"),
    ("Channel", "phone", "provider.twilioVoice.number", "02 1234", "number"),
    ("Channel", "whatsapp", "provider.whatsappCloud.apiBaseUrl", "ftp://x", "apiBaseUrl"),
    ("Channel", "whatsapp", "provider.whatsappCloud.appSecret", "s3cret", "appSecret"),
    ("Queue", "care", "serviceLevel.targetSeconds", 0, "targetSeconds"),
    ("Queue", "care", "serviceLevel.goal", 1.5, "goal"),
    ("Queue", "care", "serviceLevel.byChannel.fax", 60, "fax: unknown field"),
    ("Queue", "care", "overflow.0.action", "queue", "names the other queue"),
    ("Queue", "care", "overflow.0.queue", "machines", "names the other queue"),
    ("Queue", "care", "overflow.0.action", "close", "template is missing"),
    ("Queue", "machines", "maxLength", 10, "when: full"),
    ("Queue", "machines", "offerTimeoutSeconds", -1, "offerTimeoutSeconds"),
    ("RoutingPolicy", "main", "defaultQueue", None, "defaultQueue"),
    ("RoutingPolicy", "main", "rules.0.agents", "botsFirst", "contradict"),
    ("RoutingPolicy", "main", "rules.0.targetFactor", 0, "targetFactor"),
    ("RoutingPolicy", "main", "steps.0.afterSeconds", 5, "either"),
    ("RoutingPolicy", "main", "rules.1.steps", [{**STEP, "relaxLevelsBy": 1}], "exclude each other"),
    ("RoutingPolicy", "main", "matching", {"reserve": {"size": {"squareRoot": {"factor": 1, "min": 5, "max": 2}}}}, "min is more"),
    ("RoutingPolicy", "main", "matching", {"reserve": {"size": {"fixed": 1, "squareRoot": {"factor": 1, "min": 1, "max": 2}}}}, "too many properties"),
    ("RoutingPolicy", "main", "matching", {"ranking": {"starvingAfterTargets": 1}}, "starvingAfterTargets"),
    ("BusinessHours", "office", "weekly", {}, "weekly"),
    ("BusinessHours", "office", "weekly.someday", ["09:00-10:00"], "someday: unknown field"),
    ("BusinessHours", "office", "days.0.easter", 1, "either date or easter"),
    ("BusinessHours", "office", "days.0.through", "2026-12-31", "both have a year"),
    ("Entitlement", "gold", "members", ["anna"], "members"),
    ("Intent", "billing", "urgency", 2, "urgency"),
    ("Intent", "billing", "examples", {}, "examples"),
    ("Survey", "after-case", "questions", [], "questions"),
    ("Survey", "after-case", "questions.1.followUpAtMost", 6, "outside the scale"),
    ("Survey", "after-case", "trigger", "whenever", "trigger"),
    ("MessageTemplate", "one-time-code", "text", {}, "text"),
    ("Persona", "acme", "languages.it.maxSentenceWords", 4, "maxSentenceWords"),
    ("MatchingPolicy", "main", "defaultCountryCode", "+39", "defaultCountryCode"),
    ("MatchingPolicy", "main", "merges", {"perDay": 200}, "more than ever"),
    ("MatchingPolicy", "main", "verification.methods", {"knowledgeQuestion": {"maxLevel": 2, "hours": 1}}, "maxLevel"),
    ("MatchingPolicy", "main", "verification.methods", {"palmReading": {"maxLevel": 1, "hours": 1}}, "palmReading: unknown field"),
    ("CustomerSchema", "default", "fields.broken", {"type": "enum"}, "an enum has values"),
    ("CustomerSchema", "default", "fields.broken", {"type": "number", "pattern": "1"}, "pattern is for strings"),
    ("CustomerSchema", "default", "webhook", {"url": "ftp://x", "secret": {"name": "a", "key": "b"}}, "url"),
]


@pytest.mark.parametrize(("kind", "name", "path", "value", "word"), BAD, ids=[f"{k}.{p}={str(v)[:24]}" for k, _, p, v, _ in BAD])
def test_a_bad_example_is_refused_and_the_refusal_says_why(kind, name, path, value, word):
    found = problems(changed(kind, name, path, value))
    assert found and any(word in problem for problem in found), found


def test_a_name_with_a_dot_is_refused():
    document = copy.deepcopy(EXAMPLES[0])
    document["metadata"]["name"] = "a.b"
    assert any("metadata.name" in problem for problem in problems(document))
