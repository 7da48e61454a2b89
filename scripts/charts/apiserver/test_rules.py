"""The rules (CEL) of our kinds, evaluated by the part of a current Kubernetes that does it: scripts/apiserver --rules."""

import copy
import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from cluster import until
from test_crds import BAD, DEFINITIONS, EXAMPLES, changed, label

SERVER = os.environ.get("TRAMA_RULES_SERVER")
pytestmark = pytest.mark.skipif(not SERVER, reason="needs scripts/apiserver --rules")

DEFINED = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Its words for what the schema, not a rule, refuses.
WORDS = {"too many properties": "must have at most 1 item"}


class Server:
    """Plain HTTP: this server is only a part, and kubectl wants a whole one."""

    def __init__(self):
        [user] = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())["users"]
        self.token = user["user"]["token"]
        self.trust = ssl.create_default_context(cafile=Path(os.environ["TRAMA_APISERVER_DIR"]) / "rules/apiserver.crt")

    def ask(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(SERVER + path, json.dumps(body).encode() if body else None, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def create(self, document):
        """As kubectl does, but nothing is kept."""
        plural = DEFINITIONS[document["kind"]]["spec"]["names"]["plural"]
        path = f"/apis/trama.dev/v1alpha1/namespaces/{document['metadata']['namespace']}/{plural}"
        return self.ask("POST", f"{path}?fieldValidation=Strict&dryRun=All", document)


@pytest.fixture(scope="module")
def server():
    found = Server()
    # It asks the API server who we are, and the tests before may have killed that.
    until("we are known", lambda: found.ask("GET", DEFINED)[0] == 200)
    for definition in DEFINITIONS.values():
        code, answer = found.ask("POST", f"{DEFINED}?fieldValidation=Strict", definition)
        # The budget of a rule is counted here, too.
        assert code == 201 or answer.get("reason") == "AlreadyExists", answer

    def established():
        items = found.ask("GET", DEFINED)[1]["items"]
        # Until a controller has looked at one, its conditions are null.
        known = [(d.get("status") or {}).get("conditions") or [] for d in items or []]
        conditions = [{c["type"]: c["status"] for c in them} for them in known]
        assert not any("NonStructuralSchema" in c for c in conditions)
        return len(items) == len(DEFINITIONS) and all(c.get("Established") == "True" for c in conditions)

    until("the kinds are established", established)
    until("they are served", lambda: found.create(EXAMPLES[0])[0] != 404)
    return found


@pytest.mark.parametrize("document", EXAMPLES, ids=label)
def test_every_example_is_accepted(server, document):
    code, answer = server.create(document)
    assert code == 201, answer["message"]
    assert answer["spec"] == document["spec"]


@pytest.mark.parametrize(("kind", "name", "path", "value", "word"), BAD, ids=[f"{k}.{p}={str(v)[:24]}" for k, _, p, v, _ in BAD])
def test_a_bad_example_is_refused_and_the_refusal_says_why(server, kind, name, path, value, word):
    code, answer = server.create(changed(kind, name, path, value))
    assert code >= 400
    field, unknown, _ = word.partition(": unknown field")
    wanted = f'{field}"' if unknown else WORDS.get(word, word)
    assert wanted in answer["message"] and (not unknown or "unknown field" in answer["message"]), answer["message"]


@pytest.mark.parametrize("name", ["a.b", "a_b", "a" * 64])
def test_a_name_that_is_no_label_of_dns_is_refused(server, name):
    document = copy.deepcopy(EXAMPLES[0])
    document["metadata"]["name"] = name
    code, answer = server.create(document)
    assert code == 422 and "metadata.name" in answer["message"], answer
