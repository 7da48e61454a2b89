"""Renders the charts as their users do: the profiles that ship, and odd combinations that must work, too."""

import sys
from functools import cache
from pathlib import Path

import helm_python
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/trama"
CRDS = ROOT / "charts/trama-crds"
NAME, NAMESPACE = "trama", "contact"

GATEWAY = {"via": "gateway", "parentRefs": [{"name": "public", "namespace": "gateways"}]}
INGRESS = {"via": "ingress", "ingress": {"className": "nginx", "tlsSecret": "tls"}}

# Values on top of values.yaml; `_files` come first.
PROFILES = {
    "default": {},
    "trial": {"_files": ["values-trial.yaml"]},
    "ha": {"_files": ["values-ha.yaml"]},
    "trial-persistent-with-resources": {
        "_files": ["values-trial.yaml"],
        "trial": {"persistence": {"enabled": True, "storageClass": "fast"}},
        "resources": {"inline": {"a.yaml": "kind: Queue\n", "b.yml": [{"kind": "Queue"}, {"kind": "Intent"}]}},
    },
    "parts-tls-trust": {
        "database": {
            "keys": {"url": "", "host": "host", "port": "port", "name": "dbname", "user": "user", "password": "password"},
            "tls": {"mode": "verify-full", "secret": "pg-tls", "certKey": "tls.crt", "keyKey": "tls.key"},
        },
        "trust": {"configMap": "our-roots", "secret": "their-roots"},
        "privacy": {"existingSecret": "trama-privacy"},
        "objects": {
            "s3": {
                "bucket": "acme-media",
                "endpoint": "https://minio.storage.svc:9000",
                "prefix": "contact/trama",
                "existingSecret": "trama-objects",
                "keys": {"sessionToken": "token"},
            }
        },
        "networkPolicy": {
            "objects": {
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "storage"}}}],
                "ports": [9000],
            }
        },
        "nats": {"keys": {"nkey": "seed"}},
        "sealing": {"existingSecret": "trama-sealing", "key": "2026-11", "tenants": ["acme"]},
        "migrations": {"mode": "job"},
    },
    "certificates-for-all": {
        "tls": {
            "mode": "certManager",
            "certManager": {"issuerRef": {"name": "inside", "kind": "ClusterIssuer"}},
            "clients": "required",
        },
        "config": {
            "listen": {"trusted_proxies": ["10.0.0.0/8"]},
            "limits": {
                "tenant": {"per_second": 500, "burst": 1000},
                "credential": {"per_second": 0.5, "burst": 5},
                "tenants": {"acme": {"tenant": {"per_second": 5000, "burst": 5000}}},
            },
        },
    },
    "a-certificate-of-your-own": {
        "tls": {"mode": "secret", "existingSecret": "our-tls"},
        "trust": {"secret": "their-roots"},
        "expose": {"smtp": {"enabled": True, "tls": {"existingSecret": "mail-tls"}}},
        "nats": {"keys": {"creds": "trama.creds"}},
    },
    "gateway-everywhere": {
        "expose": {
            "webhooks": {**GATEWAY, "hostnames": ["hooks.example.com"]},
            "chat": {**GATEWAY, "hostnames": ["chat.example.com"]},
            "verifications": {**GATEWAY, "hostnames": ["hooks.example.com"]},
            "grpc": {**GATEWAY, "hostnames": ["grpc.example.com"]},
            "grpcWeb": {**GATEWAY, "hostnames": ["api.example.com"]},
            "smtp": {"enabled": True, "loadBalancerSourceRanges": ["192.0.2.0/24"]},
        },
        "networkPolicy": {"web": {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}}]}},
    },
    "ingress-everywhere": {
        "expose": {
            "webhooks": {**INGRESS, "hostnames": ["hooks.example.com"]},
            "chat": {**INGRESS, "hostnames": ["chat.example.com"]},
            "verifications": {**INGRESS, "hostnames": ["hooks.example.com"]},
            "grpc": {**INGRESS, "hostnames": ["grpc.example.com"]},
            "grpcWeb": {**INGRESS, "hostnames": ["grpc.example.com"]},
            "smtp": {"enabled": True, "type": "NodePort", "nodePort": 30025},
        },
    },
    "tenants-and-secrets": {
        "resources": {
            "configMaps": ["acme", "zenith"],
            "secrets": [
                {"tenant": "acme", "name": "whatsapp", "secret": "acme-whatsapp"},
                {"tenant": "zenith", "name": "twilio", "secret": "zenith-twilio", "optional": True},
            ],
        },
        "config": {
            "auth": {"issuers": [{"issuer": "https://login.example.com", "audience": "trama", "jwks": "https://login.example.com/certs"}]},
            "resources": {"variables": {"PUBLIC_URL": 'https://"quoted".example.com'}},
            "bus": {"monitor_url": "http://nats:8222"},
            "telemetry": {"otlp_endpoint": "http://otel:4317"},
        },
    },
    "from-the-api-server": {
        "resources": {
            "kubernetes": {"enabled": True, "namespaces": ["acme", "prod-zenith"], "tenants": {"prod-zenith": "zenith"}},
            "secrets": [{"tenant": "acme", "name": "whatsapp", "secret": "acme-whatsapp"}],
        },
        "networkPolicy": {"apiServer": {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [443]}},
    },
    "from-everywhere-in-the-cluster": {
        "resources": {"kubernetes": {"enabled": True, "allNamespaces": True}},
        "services": {"survey": {"enabled": False}, "case": {"serviceAccount": {"name": "case"}}},
    },
    "half-of-the-services": {
        "services": {"ingest": {"enabled": False}, "notification": {"enabled": False}, "survey": {"enabled": False}},
        "auth": {"existingSecret": ""},
        "objects": {"persistence": {"enabled": False}},
    },
    "keda-for-all": {
        "defaults": {"autoscaling": {"mode": "keda", "min": 1, "max": 16}},
        "services": {"ingest": {"autoscaling": {"mode": "none"}}},
        "keda": {"monitoringEndpoint": "nats.example:8222", "useHttps": True},
        "metrics": {"monitor": "service", "labels": {"release": "prometheus"}},
    },
    "placed-and-named": {
        "fullnameOverride": "cc",
        "commonLabels": {"team": "care"},
        "image": {"registry": "registry.example/mirror", "tag": "9.9.9", "pullSecrets": ["pull"]},
        "defaults": {
            "nodeSelector": {"pool": "care"},
            "tolerations": [{"key": "care", "operator": "Exists"}],
            "priorityClassName": "important",
            "env": [{"name": "RUST_LOG", "value": "debug"}],
            "topologySpread": {"kubernetes.io/hostname": None},
        },
        "services": {
            "case": {"image": {"digest": "sha256:" + "a" * 64}, "serviceAccount": {"name": "case"}, "replicas": 7},
            "routing": {"affinity": {"nodeAffinity": {}}, "podLabels": {"x": "y"}, "config": {"grace_seconds": 45}},
        },
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n",
        ],
    },
    "nothing-around": {
        "networkPolicy": {"enabled": False},
        "migrations": {"mode": "none"},
        "tests": {"enabled": False},
        "defaults": {"pdb": {"enabled": False}},
        "pods": {"preStopSeconds": 0},
        "objects": {"persistence": {"existingClaim": "mine", "accessMode": "ReadWriteMany"}},
        "services": {"ingest": {"replicas": 4}},
    },
}


def merged(base: dict, over: dict) -> dict:
    out = dict(base)
    for key, value in over.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def values(profile: str) -> dict:
    out: dict = {}
    for file in PROFILES[profile].get("_files", []):
        out = merged(out, yaml.safe_load((CHART / file).read_text()))
    return merged(out, {key: value for key, value in PROFILES[profile].items() if key != "_files"})


def render(given: dict, chart: Path = CHART) -> tuple[list[dict], str]:
    """The objects, and the notes."""
    files = helm_python.Chart.load(str(chart)).render(given, name=NAME, namespace=NAMESPACE)
    objects, notes = [], ""
    for path, text in sorted(files.items()):
        if path.endswith("NOTES.txt"):
            notes = text
        elif not Path(path).name.startswith("_"):
            objects += [document for document in yaml.safe_load_all(text) if document]
    return objects, notes


@cache
def rendered(profile: str) -> list[dict]:
    return render(values(profile))[0]


def main(out: Path) -> None:
    """One file per profile, for tools that read files."""
    for profile in PROFILES:
        with (out / f"{profile}.yaml").open("w") as file:
            yaml.safe_dump_all(rendered(profile), file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
