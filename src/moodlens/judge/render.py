"""Pages from their templates."""

import json
from typing import Any


def render(template: str, **values: Any) -> str:
    """A page of ``templates/``; values become JSON that cannot end the script element that holds it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("moodlens.judge"), autoescape=True, undefined=StrictUndefined
    )
    scripts = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    escaped = {name: script.replace("<", "\\u003c") for name, script in scripts.items()}
    return environment.get_template(template).render(**escaped)
