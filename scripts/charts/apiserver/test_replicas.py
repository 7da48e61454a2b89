"""Replicas of a service that read their resources from a real API server, with the chart's rights and nothing more."""

import json
import signal
import subprocess

import pytest
from cluster import LEASE, NAMESPACE, PATIENCE, example, queue, until
from test_crds import BAD, EXAMPLES, changed, label
from test_kinds import is_rule

GOOD = {"Accepted": "True", "ResolvedRefs": "True", "Ready": "True"}
# The longest pause between two attempts is 5 s; what comes after it takes less than another.
BACK = 10.0
# A lease holds 15 s, the others look every 4 s.
TAKEN_OVER = 25.0


@pytest.fixture(autouse=True)
def as_the_examples_say(cluster):
    """Every test begins with the examples, no more and no less."""
    cluster.kubectl("delete", "trama", "--all", "-n", "odd", "--wait=false")
    names = {(d["kind"], d["metadata"]["name"]) for d in EXAMPLES}
    for found in cluster.get("trama", "-n", "acme")["items"]:
        if (found["kind"], found["metadata"]["name"]) not in names:
            cluster.kubectl("delete", found["kind"], found["metadata"]["name"], "-n", "acme")
    cluster.apply(*EXAMPLES)


def all_good(cluster):
    return all(verdict == GOOD for verdict in verdicts(cluster))


def verdicts(cluster):
    for found in cluster.get("trama", "-n", "acme")["items"]:
        status = found.get("status", {})
        judged = status.get("observedGeneration") == found["metadata"]["generation"]
        yield {c["type"]: c["status"] for c in status.get("conditions", [])} if judged else None


def test_resources_are_served_and_their_authors_are_told(cluster, replicas):
    one = replicas.start("one")
    assert one.greets("first"), "the channel is served as soon as the replica is ready"
    assert not one.greets("wrong")
    until("every example is in force", lambda: all_good(cluster))
    printed = cluster.kubectl("get", "queues", "-n", "acme", "--no-headers").splitlines()
    assert printed and all(line.split()[-4:-1] == ["True", "True", "InForce"] for line in printed), printed
    [care] = [o for o in cluster.get("queues", "-n", "acme", "--show-managed-fields")["items"] if o["metadata"]["name"] == "care"]
    [ours] = [m for m in care["metadata"]["managedFields"] if m["manager"] == "trama"]
    assert ours["operation"] == "Apply" and set(ours["fieldsV1"]) == {"f:status"}, "we own the status and nothing else"
    cluster.kubectl("wait", "--for=condition=Ready", "-n", "acme", "queue/care", "--timeout=10s")


def test_a_pod_finds_the_api_server_by_itself(cluster, replicas):
    allowed = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], check=False, capture_output=True)
    if allowed.returncode:
        pytest.skip("this machine lets us have no mount namespace")
    one = replicas.prepare("one").start_as_in_a_pod()
    assert one.greets("first")
    cluster.apply(queue("from-a-pod", "acme"))
    until("its status is written", lambda: cluster.verdict("queue", "from-a-pod") == GOOD)


def test_who_applies_on_the_server_side_does_not_collide_with_us(cluster, replicas):
    replicas.start("one")
    for target in (60, 90):
        document = queue("by-argo", "acme")
        document["spec"]["serviceLevel"]["targetSeconds"] = target
        cluster.kubectl("apply", "--server-side", "--field-manager=argo", "-f", "-", given=json.dumps(document))
        until("it is judged", lambda: cluster.verdict("queue", "by-argo") == GOOD)
    managers = {m["manager"] for m in cluster.get("queue", "by-argo", "-n", "acme", "--show-managed-fields")["metadata"]["managedFields"]}
    assert managers == {"argo", "trama"}


def test_what_is_right_is_written_once(cluster, replicas):
    def versions():
        return {label(o): o["metadata"]["resourceVersion"] for o in cluster.get("trama", "-n", "acme")["items"]}

    one = replicas.start("one")
    until("every example is in force", lambda: all_good(cluster))
    before = versions()
    cluster.apply(queue("later", "acme"))
    until("a later one is judged", lambda: cluster.verdict("queue", "later") == GOOD)
    one.end(signal.SIGTERM)
    replicas.start("two")
    cluster.apply(queue("later-still", "acme"))
    until("the next holder writes", lambda: cluster.verdict("queue", "later-still") == GOOD)
    after = versions()
    assert {name: after[name] for name in before} == before, "nothing was written again"
    assert replicas.holder().metric('trama_resources_status_writes_total{outcome="written"}') == 1


def test_a_bad_one_does_not_hide_the_good_ones(cluster, replicas):
    cluster.apply(queue("broken", "acme", overflow=[{"when": "waiting >", "action": "voicemail"}]))
    one = replicas.start("one")
    until("the bad one is refused", lambda: (cluster.verdict("queue", "broken") or {}).get("Accepted") == "False")
    status, reason, message = cluster.conditions("queue", "broken", "acme")["Accepted"]
    assert (status, reason) == ("False", "Invalid") and "overflow" in message, message
    assert cluster.conditions("queue", "broken", "acme")["Ready"][1] == "Refused"
    assert cluster.verdict("queue", "care") == GOOD and one.greets("first")

    # A good one that turns bad stays as it was.
    cluster.apply(example("Queue", "care", overflow=[{"when": "waiting >", "action": "voicemail"}]))
    until("the good one turned bad", lambda: (cluster.verdict("queue", "care") or {}).get("Accepted") == "False")
    assert cluster.conditions("queue", "care", "acme")["Ready"][1] == "LastGoodInForce"
    cluster.apply(example("Queue", "care"))
    until("it is mended", lambda: cluster.verdict("queue", "care") == GOOD)


def test_a_reference_to_nothing_is_told_and_mended(cluster, replicas):
    replicas.start("one")
    cluster.apply(queue("night", "acme", hours="nights"))
    until("the reference is looked at", lambda: (cluster.verdict("queue", "night") or {}).get("ResolvedRefs") == "False")
    _, reason, message = cluster.conditions("queue", "night", "acme")["ResolvedRefs"]
    assert reason == "RefNotFound" and "nights" in message
    hours = example("BusinessHours", "office")
    hours["metadata"]["name"] = "nights"
    cluster.apply(hours)
    until("it is there now", lambda: cluster.verdict("queue", "night") == GOOD)
    cluster.kubectl("delete", "businesshours", "nights", "-n", "acme")
    until("it is gone again", lambda: cluster.verdict("queue", "night")["ResolvedRefs"] == "False")


def test_a_channel_comes_and_goes(cluster, replicas):
    one = replicas.start("one")
    other = example("Channel", "whatsapp")
    other["metadata"]["name"] = "second"
    other["spec"]["provider"]["whatsappCloud"]["phoneNumberId"] = "2"
    assert not one.greets("first", "second")
    cluster.apply(other)
    until("the new channel is served", lambda: one.greets("first", "second"), BACK)
    cluster.kubectl("delete", "channel", "second", "-n", "acme")
    until("the channel is gone", lambda: not one.greets("first", "second"), BACK)


def test_what_rules_refuse_the_services_refuse_as_well(cluster, replicas):
    replicas.start("one")
    through = []
    for number, (kind, name, path, value, _) in enumerate(BAD):
        document = changed(kind, name, path, value)
        document["metadata"] |= {"name": f"bad-{number}", "namespace": "odd"}
        if not cluster.has_rules and is_rule(document):
            cluster.apply(document)
            through.append((kind, f"bad-{number}"))
    for kind, name in through:
        until(f"{kind} {name} is refused", lambda: (cluster.verdict(kind, name, "odd") or {}).get("Accepted") == "False")


def test_more_than_a_page_of_resources_is_read_and_told(cluster, replicas):
    # A list comes in pages of 500.
    cluster.apply(*(queue(f"many-{number}", "odd") for number in range(520)))
    replicas.start("one")

    def told():
        found = cluster.get("queues", "-n", "odd")["items"]
        return len(found) == 520 and all("status" in item for item in found)

    until("all are told", told, 60.0, pause=1.0)


def test_one_of_two_replicas_writes_and_the_other_follows_when_it_is_killed(cluster, replicas):
    one, two = replicas.start("one", "two")
    holder = replicas.holder()
    other = two if holder is one else one
    before = cluster.lease()
    assert before["holderIdentity"].startswith(f"{holder.name}_")
    cluster.apply(queue("first", "acme"))
    until("the holder writes", lambda: cluster.verdict("queue", "first") == GOOD)
    assert holder.metric("trama_resources_status_writes_total") > 0
    assert other.metric("trama_resources_status_writes_total") == 0, "nothing, not even in vain"
    assert other.greets("first") and holder.greets("first")

    holder.end(signal.SIGKILL)
    cluster.apply(queue("second", "acme"))
    until("the other follows", lambda: cluster.verdict("queue", "second") == GOOD, TAKEN_OVER)
    after = cluster.lease()
    assert after["holderIdentity"].startswith(f"{other.name}_")
    assert after["leaseTransitions"] == before["leaseTransitions"] + 1
    assert other.greets("first")


def test_who_stops_lets_go_of_the_lease(cluster, replicas):
    one, two = replicas.start("one", "two")
    holder = replicas.holder()
    other = two if holder is one else one
    assert holder.end(signal.SIGTERM) == 0
    until("the other takes it at its next look", other.holds_lease, 6.0)


def test_a_lease_that_an_administrator_deleted_is_not_made_again_and_that_is_said(cluster, replicas):
    one = replicas.start("one")
    replicas.holder()
    kept = cluster.get("lease", LEASE, "-n", NAMESPACE)
    cluster.kubectl("delete", "lease", LEASE, "-n", NAMESPACE)
    try:
        until("nobody believes in it any more", lambda: not one.holds_lease(), TAKEN_OVER)
        assert "the lease cannot be had" in one.log()
        assert one.greets("first")
    finally:
        cluster.apply({"apiVersion": kept["apiVersion"], "kind": "Lease", "metadata": {"name": LEASE, "namespace": NAMESPACE}})
    until("it is taken again", one.holds_lease, TAKEN_OVER)


def test_an_api_server_that_dies_for_8_seconds_changes_nothing_and_is_heard_again(cluster, replicas):
    one, two = replicas.start("one", "two")
    until("every example is in force", lambda: all_good(cluster))
    cluster.kill_server()
    try:
        until("it is noticed", lambda: one.metric("trama_resources_watch_errors_total") > 0, BACK)
        until("8 s are over", lambda: one.metric("trama_resources_watch_age_seconds") > 8 and two.metric("trama_resources_watch_age_seconds") > 8)
        for replica in (one, two):
            assert replica.greets("first") and replica.is_ready(), "what is in force serves"
    finally:
        cluster.start_server()
    second = example("Channel", "whatsapp")
    second["metadata"]["name"] = "after"
    second["spec"]["provider"]["whatsappCloud"]["phoneNumberId"] = "3"
    cluster.apply(second)
    for replica in (one, two):
        until(f"{replica.name} sees the change", lambda: replica.greets("first", "after"), BACK)
        until(f"{replica.name} hears every watch", lambda: replica.metric("trama_resources_watch_age_seconds") < 8, BACK)
    until("its status is written", lambda: cluster.verdict("channel", "after") == GOOD, TAKEN_OVER)


def test_a_replica_starts_without_the_api_server_with_what_was_good(cluster, replicas):
    one = replicas.start("one")
    until("it is kept", lambda: (one.folder / "snapshot/resources.json").exists())
    one.end(signal.SIGTERM)
    cluster.kill_server()
    try:
        one.start()
        assert one.greets("first") and one.metric("trama_resources_from_snapshot") == 1
    finally:
        cluster.start_server()
    until("the API server's word counts again", lambda: one.metric("trama_resources_from_snapshot") == 0, BACK)


def test_a_rotated_secret_is_in_force_without_a_restart(cluster, replicas):
    one = replicas.start("one")
    assert one.greets("first")
    one.mount("2", verify_token="second", app_secret="s", access_token="s")
    until("the second secret is in force", lambda: one.greets("second"), BACK)
    assert not one.greets("first")


def test_a_revoked_account_keeps_serving_and_comes_back(cluster, replicas):
    one = replicas.start("one")
    account = cluster.get("serviceaccount", "trama-ingest", "-n", NAMESPACE)
    cluster.kubectl("delete", "serviceaccount", "trama-ingest", "-n", NAMESPACE)
    cluster.kill_server()  # ends the watches, as a server's update would
    cluster.start_server()
    try:
        until("it is refused", lambda: "we are not known there" in one.log(), BACK)
        assert one.greets("first") and one.is_ready()
    finally:
        cluster.apply({k: account[k] for k in ("apiVersion", "kind")} | {"metadata": {"name": "trama-ingest", "namespace": NAMESPACE}})
    # A new account has new tokens; kubelet swaps the file, and clients read it again within a minute.
    cluster.kubeconfig(one.folder)
    cluster.apply(queue("again", "acme"))
    until("it is known again", lambda: cluster.verdict("queue", "again") == GOOD, 90.0)


def test_definitions_that_are_applied_again_disturb_nobody(cluster, replicas):
    one = replicas.start("one")
    until("every example is in force", lambda: all_good(cluster))
    cluster.apply(*cluster.definitions, validate="true" if cluster.has_rules else "false")
    cluster.apply(queue("then", "acme"))
    until("changes are seen", lambda: cluster.verdict("queue", "then") == GOOD, PATIENCE)
    assert one.greets("first")
