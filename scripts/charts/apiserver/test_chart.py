"""What the chart renders, validated by a real API server. Nothing is kept and nothing is run."""

import copy

import pytest
from profiles import NAMESPACE, PROFILES, rendered

# Of others' kinds, or in a version that an API server of 2021 does not serve.
OTHERS = {"HTTPRoute", "GRPCRoute", "ServiceMonitor", "PodMonitor", "PrometheusRule", "ScaledObject", "Certificate"}
OLDER = {("policy/v1", "PodDisruptionBudget"): "policy/v1beta1", ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling/v2beta2"}

CLUSTERWIDE = {"ClusterRole", "ClusterRoleBinding"}


def as_of_then(document):
    """The object in words of Kubernetes 1.20: what came later is left out or said otherwise."""
    document = copy.deepcopy(document)
    document["apiVersion"] = OLDER.get((document["apiVersion"], document["kind"]), document["apiVersion"])
    if document["kind"] == "PodDisruptionBudget":
        document["spec"].pop("unhealthyPodEvictionPolicy", None)
    if document["kind"] not in CLUSTERWIDE:
        document["metadata"].setdefault("namespace", NAMESPACE)
    template = document.get("spec", {}).get("template", {}).get("spec") if document["kind"] != "Pod" else document["spec"]
    for container in (template or {}).get("containers", []):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "grpc" in container.get(probe, {}):
                container[probe]["tcpSocket"] = container[probe].pop("grpc")
        if "sleep" in container.get("lifecycle", {}).get("preStop", {}):
            del container["lifecycle"]
    for constraint in (template or {}).get("topologySpreadConstraints", []):
        constraint.pop("matchLabelKeys", None)
    return document


@pytest.mark.parametrize("profile", PROFILES)
def test_the_server_takes_every_object(cluster, profile):
    documents = [as_of_then(d) for d in rendered(profile) if d["kind"] not in OTHERS]
    names = {d["metadata"].get("namespace", NAMESPACE) for d in documents}
    cluster.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in names))
    # Strict: kubectl knows the server's schema, so a field in the wrong place is an error.
    cluster.apply(*documents, dry_run="server")
