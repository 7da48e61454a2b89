"""A real API server with the chart's rights in force, and replicas that know nothing else."""

import copy
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from profiles import CRDS, NAMESPACE, ROOT, render
from test_crds import EXAMPLES

KUBECTL = os.environ.get("TRAMA_KUBECTL", "kubectl")
BINARIES = Path(os.environ.get("TRAMA_BINARIES", ROOT / "target/debug"))
SERVICE = "ingest"
ACCOUNT = f"trama-{SERVICE}"
LEASE = "trama-resources"
# Streams of our own: others on the same server have other partitions.
PREFIX = "apiserver"
# `odd` is for what is wrong on purpose.
WATCHED = ["acme", "odd"]
VALUES = {
    "resources": {"kubernetes": {"enabled": True, "namespaces": WATCHED}},
    "networkPolicy": {"apiServer": {"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}]}},
}
PATIENCE = 30.0


def until(what, holds, patience=PATIENCE, pause=0.05):
    """Waits until something holds, and says what it was when it does not. Returns what held."""
    deadline = time.monotonic() + patience
    while True:
        seen = holds()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"in vain for {patience:.0f} s: {what}"
        time.sleep(pause)


class Refused(Exception):
    """What kubectl said."""


class Cluster:
    """kubectl, as the administrator unless told otherwise."""

    def kubectl(self, *arguments, given=None, environment=None):
        done = subprocess.run(
            [KUBECTL, "--request-timeout=20s", *arguments],
            input=given, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False,
        )
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *documents, validate="true", dry_run="none"):
        # As JSON: what one YAML library writes plain (`y`) another reads as a truth value.
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        return self.kubectl("apply", f"--validate={validate}", f"--dry-run={dry_run}", "-f", "-", given=given)

    def understands(self, field):
        """Whether this server's schema of CRDs has a field."""
        return field in self.kubectl("get", "--raw", "/openapi/v2")

    def install(self):
        definitions, _ = render({}, CRDS)
        # A server from before CEL drops the rules that it does not know.
        self.has_rules = self.understands("x-kubernetes-validations")
        self.apply(*definitions, validate="true" if self.has_rules else "false")
        for definition in definitions:
            name = definition["metadata"]["name"]
            until(f"{name} is established", lambda: self.conditions("crd", name).get("Established", [""])[0] == "True")
        self.definitions = definitions
        for namespace in {NAMESPACE, *WATCHED, "elsewhere"}:
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        objects, _ = render(VALUES)
        self.rendered = objects
        ours = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Lease"}
        for document in objects:
            if document["kind"] in ours:
                document["metadata"].setdefault("namespace", NAMESPACE)
                self.apply(document)
        self.apply(*EXAMPLES)
        return self

    def conditions(self, kind, name, namespace=""):
        """Status, reason and message by condition."""
        found = self.get(kind, name, *(["-n", namespace] if namespace else []))
        conditions = found.get("status", {}).get("conditions", [])
        return {c["type"]: (c["status"], c.get("reason", ""), c.get("message", "")) for c in conditions}

    def verdict(self, kind, name, namespace="acme"):
        """Statuses of what we write: Accepted, ResolvedRefs, Ready; none as long as it is about another generation."""
        found = self.get(kind, name, "-n", namespace)
        status = found.get("status", {})
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return None
        return {c["type"]: c["status"] for c in status["conditions"]}

    def lease(self):
        return self.get("lease", LEASE, "-n", NAMESPACE).get("spec", {})

    def config_of(self, service):
        name = f"trama-{service}"
        [found] = [o for o in self.rendered if o["kind"] == "ConfigMap" and o["metadata"]["name"] == name]
        return found["data"]["trama.toml"]

    def kubeconfig(self, folder, account=ACCOUNT):
        """A way in with nothing but the token of a ServiceAccount, as in a pod."""
        admin = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        token = self.kubectl("create", "token", account, "-n", NAMESPACE, "--duration=1h").strip()
        (folder / "token").write_text(token)
        config = copy.deepcopy(admin)
        [context] = config["contexts"]
        config["users"] = [{"name": account, "user": {"tokenFile": str(folder / "token")}}]
        context["context"] |= {"user": account, "namespace": NAMESPACE}
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return file

    def outage(self, seconds):
        """The API server dies and comes back."""
        self.kill_server()
        time.sleep(seconds)
        self.start_server()

    def kill_server(self):
        self._server("kill")

    def start_server(self):
        self._server("up")

    def _server(self, verb):
        subprocess.run(
            [ROOT / "scripts/apiserver", verb, "--dir", os.environ["TRAMA_APISERVER_DIR"]],
            check=True, capture_output=True, timeout=120,
        )


def example(kind, name, namespace="acme", **spec):
    """An example with other fields at the top of its spec."""
    document = copy.deepcopy(next(d for d in EXAMPLES if d["kind"] == kind and d["metadata"]["name"] == name))
    document["metadata"]["namespace"] = namespace
    document["spec"] |= spec
    return document


def queue(name, namespace="acme", **spec):
    return {
        "apiVersion": "trama.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name, "namespace": namespace},
        "spec": {"serviceLevel": {"targetSeconds": 60, "goal": 0.8}, **spec},
    }


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Replica:
    """A service in a process of its own, configured as the chart does it."""

    def __init__(self, cluster, folder, name):
        self.name = name
        self.folder = folder
        folder.mkdir()
        (folder / "trama.toml").write_text(cluster.config_of(SERVICE))
        (folder / "api-keys.json").write_text("[]")
        self.secrets = folder / "secrets"
        self.ports = {door: free_port() for door in ("grpc", "http", "admin")}
        own = {
            "KUBECONFIG": str(cluster.kubeconfig(folder)),
            "HOSTNAME": name,
            "TRAMA_RESOURCES__KUBERNETES__START_TIMEOUT_SECONDS": "5",
            "TRAMA_BUS__PREFIX": PREFIX,
            "TRAMA_AUTH__API_KEYS_FILE": str(folder / "api-keys.json"),
            "TRAMA_OBJECTS__DIR": str(folder / "objects"),
            "TRAMA_RESOURCES__SECRETS_DIR": str(self.secrets),
            "TRAMA_RESOURCES__KUBERNETES__SNAPSHOT_DIR": str(folder / "snapshot"),
            "TRAMA_SERVICES__INGEST__SMTP_LISTEN": f"127.0.0.1:{free_port()}",
            **{f"TRAMA_LISTEN__{door.upper()}": f"127.0.0.1:{port}" for door, port in self.ports.items()},
        }
        self.environment = {**os.environ, **own}
        self.process = None

    def start(self, *wrapped):
        log = (self.folder / "log").open("ab")
        command = [*wrapped, BINARIES / f"trama-{SERVICE}", "--config", self.folder / "trama.toml"]
        self.process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(f"{self.name} is ready", self.is_ready)
        return self

    def start_as_in_a_pod(self):
        """With the files and variables that kubelet brings, in place of a kubeconfig: a mount namespace holds the files."""
        admin = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        [server] = [c["cluster"] for c in admin["clusters"]]
        address = urllib.parse.urlsplit(server["server"])
        account = self.folder / "account"
        account.mkdir()
        (account / "ca.crt").write_text(Path(server["certificate-authority"]).read_text())
        (account / "token").write_text((self.folder / "token").read_text())
        (account / "namespace").write_text(NAMESPACE)
        del self.environment["KUBECONFIG"]
        self.environment |= {
            "HOME": str(account), "KUBERNETES_SERVICE_HOST": address.hostname, "KUBERNETES_SERVICE_PORT": str(address.port),
        }
        place = "/run/secrets/kubernetes.io"
        script = f'mount -t tmpfs none /run && mkdir -p {place} && ln -s "$1" {place}/serviceaccount && shift && exec "$@"'
        return self.start("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", account)

    def log(self):
        return (self.folder / "log").read_text()

    def ask(self, door, path):
        """Status and body, or nothing when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[door]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return None

    def is_ready(self):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.log()[-4000:]}"
        answer = self.ask("admin", "/readyz")
        return answer is not None and answer[0] == 200

    def metric(self, name):
        """The sum over its labels."""
        answer = self.ask("admin", "/metrics")
        lines = [line.rpartition(" ") for line in (answer[1] if answer else "").splitlines() if not line.startswith("#")]
        return sum(float(value) for series, _, value in lines if series.partition("{")[0] == name or series == name)

    def holds_lease(self):
        return self.metric("trama_resources_lease_held") == 1

    def greets(self, token, channel="whatsapp", tenant="acme"):
        """Whether a channel is served, and its secret is this: the provider's handshake."""
        query = urllib.parse.urlencode({"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": "4711"})
        return self.ask("http", f"/webhooks/{tenant}/{channel}?{query}") == (200, "4711")

    def mount(self, version, tenant="acme", name="whatsapp", **secret):
        """As kubelet mounts a Secret and its later versions: links, and one rename that swaps all files."""
        folder = self.secrets / tenant / name
        (folder / f"..{version}").mkdir(parents=True)
        for key, value in secret.items():
            (folder / f"..{version}" / key.replace("_", "-")).write_text(value)
            link = folder / key.replace("_", "-")
            if not link.is_symlink():
                link.symlink_to(f"..data/{link.name}")
        (folder / "..new").symlink_to(f"..{version}")
        (folder / "..new").rename(folder / "..data")

    def end(self, sent=signal.SIGKILL):
        self.process.send_signal(sent)
        return self.process.wait(40)


class Replicas:
    def __init__(self, cluster, folder):
        self.cluster = cluster
        self.folder = folder
        self.all = []

    @staticmethod
    def migrate():
        environment = {**os.environ, "TRAMA_BUS__PREFIX": PREFIX, "TRAMA_BUS__PARTITIONS": "16"}
        subprocess.run([BINARIES / "trama", "migrate"], check=True, capture_output=True, stdin=subprocess.DEVNULL, env=environment)

    def prepare(self, name):
        replica = Replica(self.cluster, self.folder / name, name)
        replica.mount("1", verify_token="first", app_secret="s", access_token="s")
        self.all.append(replica)
        return replica

    def start(self, *names):
        started = [self.prepare(name).start() for name in names]
        return started if len(started) > 1 else started[0]

    def holder(self):
        """The one that holds the lease; nobody or several are waited out."""
        def one():
            alive = [r for r in self.all if r.process.poll() is None]
            holding = [r for r in alive if r.holds_lease()]
            return holding[0] if len(holding) == 1 else None

        return until("one replica holds the lease", one)

    def stop(self):
        for replica in self.all:
            if replica.process and replica.process.poll() is None:
                replica.end()
        # Whoever was killed holds it still; the next test would wait for it to run out.
        free = [{"op": "replace", "path": "/spec", "value": {}}]
        self.cluster.kubectl("patch", "lease", LEASE, "-n", NAMESPACE, "--type=json", "-p", json.dumps(free))
