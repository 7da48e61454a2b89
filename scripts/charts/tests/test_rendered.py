"""The rendered objects: valid for Kubernetes, safe, and consistent with each other."""

import tomllib

import kubernetes_validate
import pytest
import yaml

from profiles import CRDS, NAMESPACE, PROFILES, ROOT, rendered, values

OLDEST, NEWEST = "1.31", "1.37"
OURS = ["ingest", "identity-resolution", "case", "routing", "survey", "notification"]
# Kinds of operators, which Kubernetes has no schema of.
FOREIGN = {"Certificate", "HTTPRoute", "GRPCRoute", "ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule"}


def of(profile, kind):
    return [o for o in rendered(profile) if o["kind"] == kind]


def component(thing):
    return thing["metadata"].get("labels", {}).get("app.kubernetes.io/component", "")


def pods(profile):
    """Every pod with the name of what makes it."""
    for o in rendered(profile):
        if o["kind"] == "Pod":
            yield o["metadata"]["name"], o["metadata"]["labels"], o["spec"]
        elif o["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = o["spec"]["template"]
            yield o["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def matches(selector, labels):
    return selector.items() <= labels.items()


each_profile = pytest.mark.parametrize("profile", PROFILES)


@each_profile
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_every_object(profile, version):
    for o in rendered(profile):
        if o["kind"] not in FOREIGN:
            kubernetes_validate.validate(o, version, strict=True)


@each_profile
def test_no_object_stands_twice(profile):
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in rendered(profile)]
    assert len(names) == len(set(names))


@each_profile
def test_every_pod_is_restricted(profile):
    for name, _, spec in pods(profile):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        assert all("hostPath" not in volume for volume in spec.get("volumes") or []), name
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]} and "privileged" not in security, name
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"], name


FROM_API_SERVER = ["from-the-api-server", "from-everywhere-in-the-cluster"]


@each_profile
def test_nobody_may_anything_at_the_api_server_who_does_not_read_there(profile):
    tokens = [name for name, _, spec in pods(profile) if "serviceAccountToken" in str(spec.get("volumes"))]
    if profile in FROM_API_SERVER:
        assert tokens == [o["metadata"]["name"] for o in of(profile, "Deployment")]
    else:
        assert not tokens and not any("Role" in o["kind"] or o["kind"] == "Lease" for o in rendered(profile))
    assert all(spec["automountServiceAccountToken"] is False for _, _, spec in pods(profile))
    assert all(o["automountServiceAccountToken"] is False for o in of(profile, "ServiceAccount"))
    accounts = [o["spec"]["template"]["spec"]["serviceAccountName"] for o in of(profile, "Deployment")]
    assert len(accounts) == len(set(accounts)), "each its own"


def plurals():
    return {yaml.safe_load(file.read_text())["spec"]["names"]["plural"] for file in (CRDS / "files").glob("*.yaml")}


@pytest.mark.parametrize("profile", FROM_API_SERVER)
def test_services_may_read_our_kinds_write_their_status_and_hold_one_lease(profile):
    roles = {(o["metadata"].get("namespace"), o["metadata"]["name"]): o for kind in ("Role", "ClusterRole") for o in of(profile, kind)}
    [lease] = of(profile, "Lease")
    assert "spec" not in lease, "the holder's business"
    for (_, name), role in roles.items():
        for rule in role["rules"]:
            if name.endswith("-lease"):
                assert rule["resourceNames"] == [lease["metadata"]["name"]] and rule["verbs"] == ["get", "update"]
            elif rule["verbs"] == ["patch"]:
                assert set(rule["resources"]) == {f"{plural}/status" for plural in plurals()}
            else:
                assert rule["verbs"] == ["get", "list", "watch"] and set(rule["resources"]) == plurals()
            assert rule["apiGroups"] == [("coordination.k8s.io" if name.endswith("-lease") else "trama.dev")]
    accounts = {o["spec"]["template"]["spec"]["serviceAccountName"] for o in of(profile, "Deployment")}
    bindings = of(profile, "RoleBinding") + of(profile, "ClusterRoleBinding")
    assert {(o["metadata"].get("namespace"), o["roleRef"]["name"]) for o in bindings} == set(roles)
    for binding in bindings:
        assert {subject["name"] for subject in binding["subjects"]} == accounts
        assert {subject["namespace"] for subject in binding["subjects"]} == {NAMESPACE}


def test_roles_stand_where_is_read():
    assert {o["metadata"].get("namespace") for o in of("from-the-api-server", "Role")} == {"acme", "prod-zenith", None}
    assert not of("from-the-api-server", "ClusterRole")
    [cluster] = of("from-everywhere-in-the-cluster", "ClusterRole")
    assert cluster["metadata"]["name"].startswith(NAMESPACE), "two releases may share a cluster"


@pytest.mark.parametrize("profile", FROM_API_SERVER)
def test_who_reads_from_the_api_server_is_told_so_reaches_it_and_keeps_what_was_good(profile):
    [lease] = of(profile, "Lease")
    for deployment in of(profile, "Deployment"):
        name = component(deployment)
        read = config(profile, name)["resources"]
        assert "dir" not in read and read["kubernetes"]["lease"] == lease["metadata"]["name"]
        mounts = {m["mountPath"]: m for m in deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
        assert not mounts[read["kubernetes"]["snapshot_dir"]].get("readOnly")
        assert mounts["/var/run/secrets/kubernetes.io/serviceaccount"]["readOnly"]
        assert 443 in ports(policies(profile)[name]["egress"])
    read = config("from-the-api-server", "case")["resources"]["kubernetes"]
    assert read["namespaces"] == ["acme", "prod-zenith"] and read["tenants"] == {"prod-zenith": "zenith"}
    assert config("from-everywhere-in-the-cluster", "case")["resources"]["kubernetes"]["all_namespaces"] is True


def test_the_configuration_has_the_keys_of_the_binary():
    text = (ROOT / "docs/reference/configuration.md").read_text()
    known = tomllib.loads(text.split("```toml\n")[1].split("```")[0])["resources"]["kubernetes"]
    assert set(config("from-the-api-server", "case")["resources"]["kubernetes"]) <= set(known) | {"snapshot_dir"}


WITH_TLS = {"certificates-for-all": "required", "a-certificate-of-your-own": "none"}


@pytest.mark.parametrize("profile", WITH_TLS)
def test_with_tls_every_door_has_a_certificate_and_every_call_trusts_it(profile):
    certificates = {c["spec"]["secretName"]: c["spec"] for c in of(profile, "Certificate")}
    for deployment in of(profile, "Deployment"):
        name, spec = component(deployment), deployment["spec"]["template"]["spec"]
        [secret] = [v["secret"]["secretName"] for v in spec["volumes"] if v["name"] == "tls"]
        if profile == "certificates-for-all":
            assert f"trama-{name}" in certificates[secret]["dnsNames"]
            assert {"server auth", "client auth"} <= set(certificates[secret]["usages"])
        else:
            assert secret == "our-tls"
        [mount] = [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "tls"]
        read = config(profile, name)
        tls = read["listen"]["grpc_tls"]
        assert tls["cert"].startswith(mount["mountPath"]) and tls["key"].startswith(mount["mountPath"])
        assert ("client_ca" in tls) == (WITH_TLS[profile] != "none") and not tls.get("client_optional")
        if read.get("remotes"):
            assert set(read["remote_tls"]) == {"ca", "cert", "key"}
            assert all(address.startswith("https://") for address in read["remotes"].values())


@each_profile
def test_a_start_gives_up_waiting_before_kubelet_loses_patience(profile):
    for deployment in of(profile, "Deployment"):
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        probe = container["startupProbe"]
        patience = probe["periodSeconds"] * probe["failureThreshold"]
        assert 0 <= config(profile, component(deployment))["start_wait_seconds"] <= max(0, patience - 30)


def test_the_mail_door_has_a_certificate_of_its_own():
    for deployment in of("a-certificate-of-your-own", "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        secrets = {v["name"]: v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v}
        assert ("smtp-tls" in secrets) == (component(deployment) == "ingest")
    [mount] = [
        mount
        for deployment in of("a-certificate-of-your-own", "Deployment")
        for mount in deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        if mount["name"] == "smtp-tls"
    ]
    tls = config("a-certificate-of-your-own", "ingest")["services"]["ingest"]["smtp_tls"]
    assert tls == {"cert": f"{mount['mountPath']}/tls.crt", "key": f"{mount['mountPath']}/tls.key"}
    assert "smtp_tls" not in config("default", "ingest")["services"]["ingest"]


@pytest.mark.parametrize("profile,kind,key", [("a-certificate-of-your-own", "creds", "trama.creds"), ("parts-tls-trust", "nkey", "seed")])
def test_who_talks_to_nats_has_the_file_that_lets_him_in(profile, kind, key):
    for name, _, spec in pods(profile):
        [container] = [c for c in spec["containers"] if "TRAMA_NATS_URL" in {v["name"] for v in c.get("env", [])}]
        env = {v["name"]: v.get("value") for v in container["env"]}
        [mount] = [m for m in container["volumeMounts"] if m["name"] == "nats"]
        assert env[f"TRAMA_BUS__{kind.upper()}_FILE"] == f"{mount['mountPath']}/{kind}", name
        [volume] = [v["secret"] for v in spec["volumes"] if v["name"] == "nats"]
        assert volume["items"] == [{"key": key, "path": kind}] and volume["secretName"] == "trama-nats"


def test_limits_and_proxies_reach_the_services():
    read = config("certificates-for-all", "ingest")
    assert read["listen"]["trusted_proxies"] == ["10.0.0.0/8"]
    assert read["limits"]["tenants"]["acme"]["tenant"] == {"per_second": 5000, "burst": 5000}
    assert read["limits"]["credential"] == {"per_second": 0.5, "burst": 5}


@each_profile
def test_probes_ask_different_questions(profile):
    for deployment in of(profile, "Deployment"):
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        if profile in WITH_TLS:
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
        else:
            assert container["readinessProbe"]["grpc"] == {"port": 8080}
        # Liveness must not ask PostgreSQL or NATS.
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        startup = container["startupProbe"]
        assert startup["failureThreshold"] * startup["periodSeconds"] >= 60


def test_the_binary_has_the_paths_that_probes_and_monitors_ask():
    source = (ROOT / "crates/platform/src/server.rs").read_text()
    assert '"/livez"' in source and '"/metrics"' in source and "health_reporter" in source


@each_profile
def test_a_pod_has_time_to_end(profile):
    for deployment in of(profile, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        [container] = spec["containers"]
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = config(profile, component(deployment)).get("drain_seconds", 0)
        # 30: what Running::stop grants the loops.
        assert spec["terminationGracePeriodSeconds"] > sleep + drain + 30


@each_profile
def test_selectors_find_their_pods_and_nobody_elses(profile):
    labels = {name: labels for name, labels, _ in pods(profile)}
    for kind in ("Deployment", "StatefulSet", "Service", "PodDisruptionBudget"):
        for o in of(profile, kind):
            selector = o["spec"]["selector"] if kind == "Service" else o["spec"]["selector"]["matchLabels"]
            found = [name for name, own in labels.items() if matches(selector, own)]
            assert len(found) == 1, (kind, o["metadata"]["name"], found)


@each_profile
def test_every_port_that_is_named_exists(profile):
    for service in of(profile, "Service"):
        [spec] = [spec for _, labels, spec in pods(profile) if matches(service["spec"]["selector"], labels)]
        names = {port["name"] for container in spec["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


@each_profile
def test_every_volume_is_mounted_and_every_mount_has_a_volume(profile):
    for name, _, spec in pods(profile):
        claims = [t["metadata"]["name"] for o in of(profile, "StatefulSet") for t in o["spec"].get("volumeClaimTemplates", [])]
        volumes = {volume["name"] for volume in spec.get("volumes") or []} | (set(claims) if "postgres" in name or "nats" in name else set())
        mounts = {mount["name"] for container in spec["containers"] for mount in container.get("volumeMounts") or []}
        assert volumes == mounts, name


@each_profile
def test_our_own_references_exist(profile):
    """ConfigMaps, Secrets, claims and accounts that begin with our name are made by the chart."""
    made = {(o["kind"], o["metadata"]["name"]) for o in rendered(profile)}
    # cert-manager makes these.
    made |= {("Secret", o["spec"]["secretName"]) for o in of(profile, "Certificate")}
    yours = {"trama-database", "trama-nats", "trama-auth", "trama-pg-app", "trama-pg-ca", "trama-privacy", "trama-sealing", "trama-objects"}

    def check(kind, name):
        if name.startswith(("trama-", "cc-")) and name not in yours:
            assert (kind, name) in made, (kind, name)

    for _, _, spec in pods(profile):
        check("ServiceAccount", spec.get("serviceAccountName", "default"))
        for volume in spec.get("volumes") or []:
            if "configMap" in volume:
                check("ConfigMap", volume["configMap"]["name"])
            if "secret" in volume:
                check("Secret", volume["secret"]["secretName"])
            if "persistentVolumeClaim" in volume:
                check("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
            for source in volume.get("projected", {}).get("sources", []):
                if "configMap" in source:
                    check("ConfigMap", source["configMap"]["name"])
        for container in spec["containers"]:
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    check("Secret", variable["valueFrom"]["secretKeyRef"]["name"])


def config(profile, name):
    [found] = [o for o in of(profile, "ConfigMap") if component(o) == name and "trama.toml" in o.get("data", {})]
    return tomllib.loads(found["data"]["trama.toml"])


@each_profile
def test_every_service_reads_a_configuration_of_its_own(profile):
    for deployment in of(profile, "Deployment"):
        name = component(deployment)
        read = config(profile, name)
        assert read["listen"]["grpc"] == "0.0.0.0:8080"
        assert set(read.get("services", {})) <= {name}
        bus = {key: value for key, value in values(profile).get("config", {}).get("bus", {}).items()}
        assert bus.items() <= read["bus"].items()
        assert all(not isinstance(value, float) for value in read["bus"].values())


@each_profile
def test_no_credential_stands_in_a_config_map_or_an_argument(profile):
    for o in of(profile, "ConfigMap"):
        text = str(o.get("data"))
        assert "postgres://" not in text and "nats://" not in text and "trial-only" not in text
    for _, _, spec in pods(profile):
        for container in spec["containers"]:
            assert "postgres://" not in str(container.get("args")) and "nats://" not in str(container.get("args"))
            for variable in container.get("env", []):
                if variable["name"].endswith(("KEY", "PASSWORD", "NATS_URL")) and "PGSSL" not in variable["name"]:
                    assert "valueFrom" in variable, variable["name"]


def test_parts_of_the_address_become_libpqs_variables():
    for _, labels, spec in pods("parts-tls-trust"):
        env = {v["name"]: v for v in spec["containers"][0].get("env", [])}
        assert env["TRAMA_DATABASE_URL"]["value"] == "postgres://"
        assert {"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD"} <= set(env)
        assert env["PGSSLMODE"]["value"] == "verify-full" and env["PGSSLKEY"]["value"] == "/etc/trama/postgres/tls.key"
        assert env["SSL_CERT_DIR"]["value"] == "/etc/trama/trust", labels


def test_resources_are_read_behind_the_link_that_kubelet_swaps():
    assert config("tenants-and-secrets", "case")["resources"]["dir"] == "/etc/trama/resources/..data"


def test_secrets_of_tenants_are_mounted_where_they_are_read_and_nowhere_else():
    for deployment in of("tenants-and-secrets", "Deployment"):
        name = component(deployment)
        mounts = {m["mountPath"] for m in deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
        reads = name in ("ingest", "identity-resolution", "notification")
        assert ("/etc/trama/secrets/acme/whatsapp" in mounts) == reads, name
        assert ("secrets_dir" in config("tenants-and-secrets", name)["resources"]) == reads, name


@pytest.mark.parametrize("name", OURS)
def test_a_service_that_reads_secrets_asks_others_or_calls_out_is_in_the_table(name):
    """The table in _talks.tpl says what the code does."""
    source = "\n".join(file.read_text() for file in (ROOT / f"services/{name}/src").rglob("*.rs") if "tests" not in file.name)
    reads, calls_out = "context.secrets" in source, "context.outbound" in source
    asks = {other for other in OURS if f'channel("{other}")' in source}
    mounted = {m["mountPath"] for d in of("tenants-and-secrets", "Deployment") if component(d) == name
               for m in d["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert ("/etc/trama/secrets/acme/whatsapp" in mounted) == reads
    assert asks == set(config("default", name).get("remotes", {}))
    # Everybody may reach DNS, PostgreSQL and NATS; only who calls out reaches 443.
    assert calls_out == (443 in ports(policies("default")[name]["egress"]))


def policies(profile):
    return {o["metadata"]["name"].removeprefix("trama-"): o["spec"] for o in of(profile, "NetworkPolicy")}


def test_everything_is_refused_that_is_not_in_the_table():
    found = policies("default")
    assert found["deny"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in found["deny"] and "egress" not in found["deny"]
    for _, labels, _ in pods("default"):
        assert matches(found["deny"]["podSelector"]["matchLabels"], labels), labels


def test_every_pod_has_a_policy_of_its_own():
    for profile in ("default", "trial", "ha"):
        selectors = [p["podSelector"]["matchLabels"] for name, p in policies(profile).items() if name != "deny"]
        for name, labels, _ in pods(profile):
            assert sum(matches(s, labels) for s in selectors) == 1, name


def ports(rules):
    return sorted({port["port"] for rule in rules for port in rule["ports"]})


def test_who_may_talk_to_whom():
    found = policies("default")
    assert ports(found["ingest"]["ingress"]) == [8080, 8081, 8082]
    assert ports(found["case"]["ingress"]) == [8080, 8082]
    for name in ("case", "routing", "survey", "migrate", "test"):
        assert ports(found[name]["egress"]) == [53, 4222, 5432], name
    for name in ("ingest", "identity-resolution"):
        assert ports(found[name]["egress"]) == [53, 443, 4222, 5432], name
    assert ports(found["notification"]["egress"]) == [25, 53, 443, 465, 587, 4222, 5432, 8080]
    assert "ingress" not in found["migrate"]
    asked = [rule["from"] for name in ("ingest", "identity-resolution") for rule in found[name]["ingress"] if "from" in rule]
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for [peer] in asked] == ["notification"] * 2


def test_the_outside_is_not_the_inside():
    for rule in policies("default")["ingest"]["egress"]:
        blocks = [peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer]
        for block in blocks:
            assert {"0.0.0.0/0": "169.254.0.0/16", "::/0": "fc00::/7"}[block["cidr"]] in block["except"]


def test_issuers_are_reached_by_everybody_who_checks_tokens():
    found = policies("tenants-and-secrets")
    assert all(443 in ports(found[name]["egress"]) for name in OURS)
    assert all({4317, 8222} <= set(ports(found[name]["egress"])) for name in OURS)


def test_the_trials_servers_are_reached_by_us_alone():
    found = policies("trial")
    for name, port in (("postgres", 5432), ("nats", 4222)):
        [rule] = found[name]["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": port}] and "egress" not in found[name]
        peers = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]}
        assert peers == {*OURS, "migrate", "test"}


def test_a_bucket_is_reached_by_everybody_with_credentials_that_may_change():
    profile = "parts-tls-trust"
    wanted = {"bucket": "acme-media", "region": "", "endpoint": "https://minio.storage.svc:9000", "prefix": "contact/trama"}
    text = (ROOT / "docs/reference/configuration.md").read_text()
    known = tomllib.loads(text.split("```toml\n")[1].split("```")[0])["objects"]["s3"]
    for deployment in of(profile, "Deployment"):
        name, spec = component(deployment), deployment["spec"]["template"]["spec"]
        given = config(profile, name)["objects"]["s3"]
        assert given == {**wanted, "credentials_dir": "/etc/trama/objects"}
        assert set(given) <= set(known) | {"credentials_dir"}
        [volume] = [v["secret"] for v in spec["volumes"] if v["name"] == "objects"]
        assert volume["secretName"] == "trama-objects"
        assert {i["path"] for i in volume["items"]} == {"access-key-id", "secret-access-key", "session-token"}
        [mount] = [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "objects"]
        assert mount == {"name": "objects", "mountPath": "/etc/trama/objects", "readOnly": True}
        assert 9000 in ports(policies(profile)[name]["egress"])
    assert not of(profile, "PersistentVolumeClaim")
    # By a workload identity: nothing is mounted.
    for deployment in of("ha", "Deployment"):
        assert "objects" not in {v["name"] for v in deployment["spec"]["template"]["spec"]["volumes"]}
        assert config("ha", component(deployment))["objects"]["s3"]["region"] == "eu-central-1"
        assert 443 in ports(policies("ha")[component(deployment)]["egress"])


def test_a_volume_that_many_nodes_may_write_is_in_every_service():
    def claims(profile):
        found = {}
        for deployment in of(profile, "Deployment"):
            [volume] = [v for v in deployment["spec"]["template"]["spec"]["volumes"] if v["name"] == "objects"]
            found[component(deployment)] = volume.get("persistentVolumeClaim", {}).get("claimName")
        return found

    assert claims("nothing-around") == dict.fromkeys(OURS, "mine")
    assert claims("default") == {**dict.fromkeys(OURS), "ingest": "trama-objects"}


@each_profile
def test_what_is_scaled_says_no_number_of_pods_itself(profile):
    targets = {o["spec"]["scaleTargetRef"]["name"] for kind in ("HorizontalPodAutoscaler", "ScaledObject") for o in of(profile, kind)}
    for deployment in of(profile, "Deployment"):
        assert (deployment["metadata"]["name"] in targets) == ("replicas" not in deployment["spec"])


def test_lag_is_asked_of_the_consumers_that_the_stages_make():
    [case] = [o for o in of("keda-for-all", "ScaledObject") if component(o) == "case"]
    triggers = [trigger["metadata"] for trigger in case["spec"]["triggers"]]
    assert [t["consumer"] for t in triggers] == [f"case-{p}" for p in range(16)]
    assert {t["stream"] for t in triggers} == {"TRAMA_EVENTS"} and all(isinstance(v, str) for t in triggers for v in t.values())
    assert case["spec"]["minReplicaCount"] >= 1 and "p15" in case["spec"]["advanced"]["scalingModifiers"]["formula"]
    source = (ROOT / "crates/platform/src/bus.rs").read_text()
    assert 'format!("{durable}-{partition}")' in source and 'format!("{}_{}", self.config.prefix, stream.word()).to_uppercase()' in source


def test_ingest_with_a_volume_of_one_node_is_recreated():
    def strategy(profile):
        return {component(d): d["spec"]["strategy"]["type"] for d in of(profile, "Deployment")}

    assert strategy("default") == {**dict.fromkeys(OURS, "RollingUpdate"), "ingest": "Recreate"}
    assert strategy("ha")["ingest"] == "RollingUpdate"


@each_profile
def test_a_budget_never_stops_a_drain_of_a_lone_pod(profile):
    guarded = {component(o) for o in of(profile, "PodDisruptionBudget")}
    for deployment in of(profile, "Deployment"):
        if deployment["spec"].get("replicas") == 1:
            assert component(deployment) not in guarded


def test_routes_lead_to_the_services_that_serve_them():
    served = {}
    for name in OURS:
        folder = ROOT / "proto/trama" / name.replace("-", "_") / "v1"
        for file in folder.glob("*.proto"):
            package = next(line.split()[1].rstrip(";") for line in file.read_text().splitlines() if line.startswith("package "))
            for line in file.read_text().splitlines():
                if line.startswith("service "):
                    served[f"{package}.{line.split()[1]}"] = name
    routed = {}
    for route in of("gateway-everywhere", "GRPCRoute"):
        for rule in route["spec"]["rules"]:
            [backend] = rule["backendRefs"]
            for match in rule["matches"]:
                routed[match["method"]["service"]] = backend["name"].removeprefix("trama-")
    assert routed == served


def test_webhooks_and_chat_are_ingests_doors():
    for route in of("gateway-everywhere", "HTTPRoute"):
        if route["metadata"]["name"] in ("trama-webhooks", "trama-chat"):
            [rule] = route["spec"]["rules"]
            assert rule["backendRefs"] == [{"name": "trama-ingest", "port": 8081}]
    source = (ROOT / "services/ingest/src/doors").rglob("*.rs")
    text = "\n".join(file.read_text() for file in source)
    assert '"/webhooks/{tenant}/{channel}"' in text and '"/chat/{tenant}/{channel}"' in text


def test_reports_of_documents_come_to_identity_resolution():
    [route] = [r for r in of("gateway-everywhere", "HTTPRoute") if r["metadata"]["name"] == "trama-verifications"]
    [rule] = route["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "trama-identity-resolution", "port": 8081}]
    [match] = rule["matches"]
    assert match["path"] == {"type": "PathPrefix", "value": "/verifications"}
    door = (ROOT / "services/identity-resolution/src/api/documents.rs").read_text()
    assert '"/verifications/{tenant}/documents"' in door
    [service] = [s for s in of("gateway-everywhere", "Service") if s["metadata"]["name"] == "trama-identity-resolution"]
    assert {"name": "http", "port": 8081}.items() <= next(p for p in service["spec"]["ports"] if p["name"] == "http").items()


def test_a_change_of_configuration_restarts_only_whom_it_concerns():
    from profiles import render

    def checksums(given):
        return {component(o): o["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
                for o in render(given)[0] if o["kind"] == "Deployment"}

    before = checksums({})
    own = checksums({"services": {"case": {"config": {"snapshot_lines": 9}}}})
    assert {name for name in before if before[name] != own[name]} == {"case"}
    resources = {"resources": {"inline": {"a.yaml": "x"}}}
    assert checksums(resources) == checksums({"resources": {"inline": {"a.yaml": "y"}}}), "resources are read again by themselves"


@each_profile
def test_migrations_run_before_or_beside_never_within(profile):
    jobs = of(profile, "Job")
    mode = values(profile).get("migrations", {}).get("mode", "hook")
    assert len(jobs) == (mode != "none")
    for job in jobs:
        hooked = job["metadata"].get("annotations", {}).get("helm.sh/hook")
        assert hooked == ("pre-install,pre-upgrade" if mode == "hook" else None)
        [container] = job["spec"]["template"]["spec"]["containers"]
        assert container["args"][0] == "migrate"
        if mode == "hook":
            # What the release makes is not there yet.
            assert all("trama-trial" not in str(v) and "configMap" not in v for v in job["spec"]["template"]["spec"].get("volumes") or [])
    names = {v["name"]: v.get("value") for j in jobs for v in j["spec"]["template"]["spec"]["containers"][0]["env"]}
    if jobs:
        assert names["TRAMA_BUS__PARTITIONS"] == str(config(profile, component(of(profile, "Deployment")[0]))["bus"]["partitions"])


def test_the_trials_credentials_open_the_doors_they_should():
    import hashlib
    import json

    [secret] = [o["stringData"] for o in of("trial", "Secret")]
    keys = {key["id"]: key for key in json.loads(secret["api-keys.json"])}
    for name, service in (("service-key", True), ("caller-key", False)):
        _, key_id, half = secret[name].split("_")
        assert keys[key_id]["hash"] == hashlib.sha256(half.encode()).hexdigest() and keys[key_id]["service"] is service
