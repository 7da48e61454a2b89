"""What the tests against a real API server share: the kinds installed, the chart's rights in force, replicas started."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests"), str(HERE)]

import pytest  # noqa: E402
from cluster import Cluster, Replicas  # noqa: E402


@pytest.fixture(scope="session")
def cluster():
    return Cluster().install()


@pytest.fixture(scope="session")
def migrated(cluster):
    Replicas.migrate()


@pytest.fixture
def replicas(cluster, migrated, tmp_path):
    started = Replicas(cluster, tmp_path)
    yield started
    started.stop()
