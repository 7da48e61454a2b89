"""Rights: what the chart gives its ServiceAccounts, and nothing else."""

import pytest
from cluster import LEASE, Refused, queue
from profiles import NAMESPACE

KINDS = [
    "businesshours", "channels", "customerschemas", "entitlements", "intents", "matchingpolicies", "messagetemplates",
    "personas", "queues", "retentionpolicies", "routingpolicies", "surveys",
]
SERVICES = ["case", "identity-resolution", "ingest", "notification", "routing", "survey"]


@pytest.fixture(scope="module", params=SERVICES)
def account(cluster, request, tmp_path_factory):
    """kubectl as a service."""
    config = cluster.kubeconfig(tmp_path_factory.mktemp("account"), f"trama-{request.param}")
    return lambda *arguments, given=None: cluster.kubectl(*arguments, given=given, environment={"KUBECONFIG": str(config)})


def listed(account, namespace):
    """What `kubectl auth can-i --list` says about resources: verbs by resource and name."""
    lines = account("auth", "can-i", "--list", "--no-headers", "-n", namespace).splitlines()
    found = {}
    for line in lines:
        resource, *_ = line.split()
        brackets = [part.split("]")[0] for part in line.split("[")[1:]]
        _, names, verbs = brackets
        # Whoever is known may ask what he may do, and what the server can do (URLs).
        if resource.startswith(("selfsubject", "[")):
            continue
        found[(resource, names)] = set(verbs.split())
    return found


def test_in_a_watched_namespace_kinds_are_read_and_their_status_is_written(account):
    read = {(f"{kind}.trama.dev", ""): {"get", "list", "watch"} for kind in KINDS}
    written = {(f"{kind}.trama.dev/status", ""): {"patch"} for kind in KINDS}
    assert listed(account, "acme") == read | written


def test_in_our_own_namespace_there_is_one_lease(account):
    assert listed(account, NAMESPACE) == {("leases.coordination.k8s.io", LEASE): {"get", "update"}}


def test_elsewhere_there_is_nothing(account):
    assert listed(account, "elsewhere") == {}
    assert listed(account, "kube-system") == {}


FORBIDDEN = {
    "secrets of its namespace": ("get", "secrets", "-n", NAMESPACE),
    "one secret": ("get", "secret", "trama-auth", "-n", NAMESPACE),
    "secrets of a tenant": ("get", "secrets", "-n", "acme"),
    "config maps": ("get", "configmaps", "-n", NAMESPACE),
    "pods": ("get", "pods", "-n", NAMESPACE),
    "queues of another tenant": ("get", "queues", "-n", "elsewhere"),
    "queues of all tenants": ("get", "queues", "-A"),
    "the definitions": ("get", "crds"),
    "all leases": ("get", "leases", "-n", NAMESPACE),
    "another lease": ("get", "lease", "kube-scheduler", "-n", NAMESPACE),
    "a lease of the system": ("get", "lease", LEASE, "-n", "kube-system"),
    "to delete the lease": ("delete", "lease", LEASE, "-n", NAMESPACE),
    "to delete a queue": ("delete", "queue", "care", "-n", "acme"),
    "to patch a spec": ("patch", "queue", "care", "-n", "acme", "--type=merge", "-p", '{"spec": {"priority": 9}}'),
    "a token of another account": ("create", "token", "trama-case", "-n", NAMESPACE),
    "more rights": ("create", "rolebinding", "more", "-n", "acme", "--clusterrole=admin", f"--serviceaccount={NAMESPACE}:trama-case"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_refused(account, what):
    with pytest.raises(Refused, match="(?i)forbidden"):
        account(*FORBIDDEN[what])


def test_making_a_resource_is_refused(account):
    import yaml

    with pytest.raises(Refused, match="(?i)forbidden"):
        account("create", "--validate=false", "-f", "-", given=yaml.safe_dump(queue("mine", "acme")))


def test_nobody_gets_in_without_a_token(cluster, tmp_path):
    config = cluster.kubeconfig(tmp_path)
    (tmp_path / "token").write_text("made up")
    with pytest.raises(Refused, match="(?i)unauthorized|logged in"):
        cluster.kubectl("get", "queues", "-n", "acme", environment={"KUBECONFIG": str(config)})
