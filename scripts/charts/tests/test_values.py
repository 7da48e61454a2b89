"""Values: what is accepted, what is refused, and what the refusal says."""

import json
import tomllib

import helm_python
import pytest
import yaml

from profiles import CHART, CRDS, PROFILES, ROOT, merged, render, values
from readme import rows


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_lint_free_and_renders(profile):
    found = helm_python.lint(str(CHART), values(profile), strict=True)
    # severity 1: the icon that we do not have
    assert found["errors"] == [] and all(m["severity"] <= 1 for m in found["messages"]), found
    objects, notes = render(values(profile))
    assert objects and "Know:" in notes


def test_the_crds_chart_is_lint_free():
    found = helm_python.lint(str(CRDS), {}, strict=True)
    assert found["errors"] == [] and all(m["severity"] <= 1 for m in found["messages"]), found


WRONG = [
    # (values, a word of the refusal)
    ({"colour": "red"}, "colour"),
    ({"services": {"chat": {}}}, "chat"),
    ({"services": {"case": {"replica": 3}}}, "replica"),
    ({"services": {"case": {"replicas": 0}}}, "replicas"),
    ({"services": {"case": {"autoscaling": {"mode": "vpa"}}}}, "mode"),
    ({"services": {"ingest": {"config": {"smtp_port": 25}}}}, "smtp_port"),
    ({"defaults": {"config": {"x": 1}}}, "config"),
    ({"config": {"bus": {"partition": 3}}}, "partition"),
    ({"config": {"bus": {"partitions": 2000}}}, "partitions"),
    ({"config": {"listen": {"grpc": "0.0.0.0:1"}}}, "grpc"),
    ({"config": {"telemetry": {"sample_ratio": 2}}}, "sample_ratio"),
    ({"config": {"database_url": "postgres://a"}}, "database_url"),
    ({"database": {"password": "secret"}}, "password"),
    ({"expose": {"webhooks": {"via": "loadbalancer"}}}, "via"),
    ({"networkPolicy": {"web": {"from": [{"podselector": {}}]}}}, "podselector"),
    ({"resources": {"inline": {"../x": ""}}}, "../x"),
    ({"resources": {"secrets": [{"tenant": "A B", "name": "x", "secret": "y"}]}}, "tenant"),
    ({"resources": {"kubernetes": {"namespaces": ["A"]}}}, "namespaces"),
    ({"trial": {"password": "a b"}}, "password"),
    ({"objects": {"persistence": {"size": "big"}}}, "size"),
    ({"objects": {"s3": {"bucket": "Media"}}}, "bucket"),
    ({"objects": {"s3": {"bucket": "media", "endpoint": "minio:9000"}}}, "endpoint"),
    ({"pods": {"stopSeconds": 5}}, "stopSeconds"),
    # What the schema cannot say.
    ({"resources": {"kubernetes": {"enabled": True}, "configMaps": ["acme"]}}, "one place"),
    ({"resources": {"kubernetes": {"enabled": True, "allNamespaces": True, "namespaces": ["acme"]}}}, "exclude each other"),
    ({"replicaCount": 3}, "services.<name>.replicas"),
    ({"ingress": {"enabled": True}}, "expose.<door>.via"),
    ({"postgresql": {"enabled": True}}, "values-trial.yaml"),
    ({"serviceMonitor": {"enabled": True}}, "metrics.monitor"),
    ({"database": {"existingSecret": ""}}, "database.existingSecret"),
    ({"database": {"keys": {"url": ""}}}, "database.keys"),
    ({"database": {"keys": {"host": "host"}}}, "exclude each other"),
    ({"database": {"tls": {"certKey": "tls.crt"}}}, "go together"),
    ({"nats": {"keys": {"creds": "creds", "nkey": "nkey"}}}, "exclude each other"),
    ({"auth": {"existingSecret": ""}}, "auth.existingSecret"),
    ({"tls": {"mode": "secret"}}, "tls.existingSecret"),
    ({"tls": {"mode": "certManager"}}, "issuerRef.name"),
    ({"tls": {"clients": "required"}}, "tls.mode is off"),
    ({"tls": {"clients": "maybe"}}, "clients"),
    ({"config": {"limits": {"tenant": {"perSecond": 1}}}}, "perSecond"),
    ({"config": {"listen": {"trusted_proxies": ["10.0.0.1"]}}}, "trusted_proxies"),
    ({"trial": {"enabled": True}}, "trial.password"),
    ({"trial": {"enabled": True, "password": "x"}}, "migrations.mode"),
    ({"config": {"bus": {"replicas": 1}}}, "replicas of 3"),
    ({"config": {"bus": {"retention_days": 30}}}, "inbox_days"),
    ({"services": {"ingest": {"replicas": 2}}}, "ReadWriteMany"),
    ({"privacy": {"existingSecret": "p"}}, "objects.s3"),
    ({"objects": {"s3": {"bucket": "media"}}}, "objects.s3.region"),
    ({"objects": {"s3": {"region": "eu-south-1"}}}, "objects.s3.bucket"),
    ({"services": {"ingest": {"enabled": False}}}, "switched off"),
    ({"services": {"case": {"autoscaling": {"mode": "keda"}}}}, "keda.monitoringEndpoint"),
    ({"services": {"case": {"autoscaling": {"mode": "keda", "max": 17}}}, "keda": {"monitoringEndpoint": "n:1"}}, "partitions"),
    ({"services": {"case": {"autoscaling": {"mode": "hpa", "min": 9}}}}, "min is more than max"),
    ({"expose": {"grpc": {"via": "gateway", "hostnames": ["a.example"]}}}, "parentRefs"),
    ({"expose": {"chat": {"via": "ingress"}}}, "hostnames"),
    ({"sealing": {"key": "one"}}, "sealing.existingSecret"),
    (
        {"expose": {door: {"via": "gateway", "hostnames": ["a.example"], "parentRefs": [{"name": "g"}]} for door in ("grpc", "grpcWeb")}},
        "GRPCRoute and an HTTPRoute",
    ),
]


@pytest.mark.parametrize(("wrong", "word"), WRONG, ids=[json.dumps(w)[:70] for w, _ in WRONG])
def test_what_makes_no_sense_is_refused_by_name(wrong, word):
    with pytest.raises(helm_python.HelmError) as refused:
        render(wrong)
    assert word in str(refused.value)


def schema():
    return json.loads((CHART / "values.schema.json").read_text())


def objects_of(node, path=""):
    """Every object schema with its path."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            yield path, node
        for key, value in node.items():
            yield from objects_of(value, f"{path}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from objects_of(value, f"{path}/{index}")


def test_no_object_of_the_schema_takes_unknown_keys():
    open_ones = [path for path, node in objects_of(schema()) if node.get("additionalProperties") is not False]
    assert open_ones == []


def test_every_value_stands_in_the_schema_and_every_key_of_the_schema_has_a_meaning():
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    properties = schema()["properties"]
    assert set(given) <= set(properties)
    assert [at for at, _, _, about in rows(schema(), schema()["$defs"], given) if not about] == []


def test_the_configuration_has_the_keys_that_the_services_know():
    text = (ROOT / "docs/reference/configuration.md").read_text()
    known = tomllib.loads(text.split("```toml\n")[1].split("```")[0])
    # The chart's business, or absent from the defaults because optional.
    ours = {
        "database_url", "nats_url", "objects", "privacy", "remotes", "remote_tls", "sealing", "services",
        "start_wait_seconds",
    }
    optional = {"bus": {"monitor_url"}, "telemetry": {"otlp_endpoint"}}
    chart = schema()["properties"]["config"]["properties"]
    assert set(known) - ours == set(chart)
    for section in ("bus", "database", "limits", "stage", "outbound", "telemetry"):
        assert set(known[section]) | optional.get(section, set()) == set(chart[section]["properties"]), section


def test_a_value_of_a_service_goes_before_the_default():
    objects, _ = render({"defaults": {"replicas": 3}, "services": {"case": {"replicas": 5}}})
    replicas = {o["metadata"]["name"]: o["spec"]["replicas"] for o in objects if o["kind"] == "Deployment"}
    assert replicas["trama-case"] == 5 and replicas["trama-survey"] == 3


def test_merging_of_profiles_is_like_helms():
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
