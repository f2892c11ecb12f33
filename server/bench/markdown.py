"""The figures as the page of the documentation."""

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from server.bench.figures import Section
from server.bench.sections import LONG, section_names


def as_markdown(sections: Sequence[Section], machine: Mapping[str, str]) -> str:
    """Return the page ``docs/benchmarks.md``."""
    environment = Environment(
        loader=PackageLoader("server.bench"),
        # Markdown, read as written: nothing in it comes from outside.
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    measured = {section.name for section in sections}
    missing = [name for name in section_names() if name not in measured]
    template = environment.get_template("benchmarks.md.j2")
    return template.render(sections=sections, machine=machine, missing=missing, long=LONG)
