"""Writes the dashboards and the table of values."""

import json

from dashboards import DASHBOARDS, dashboard
from profiles import CHART
from readme import fresh


def files() -> dict:
    """Path to content."""
    made = {
        CHART / f"dashboards/{name}.json": json.dumps(dashboard(name), indent=2, ensure_ascii=False) + "\n" for name in DASHBOARDS
    }
    readme = CHART / "README.md"
    return {**made, readme: fresh(readme.read_text())}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
        print(path)
