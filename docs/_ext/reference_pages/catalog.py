"""What there is: metrics, dtype policies, arithmetics, mesh layouts, targets, sections of a report."""

import re
import sys
from types import ModuleType

from paritygate.core.registry import discover

from reference_pages.markdown import UndocumentedError, code, documentation, prose, table

HEADINGS = ("Formula:", "Range:", "Better:")


def metrics() -> str:
    """One heading a metric: what its file says, and its worked example."""
    from paritygate.metrics.base import Metric
    from paritygate.metrics.base import metrics as known

    parts = []
    for name, metric in known().items():
        module = module_of("paritygate.metrics", "METRIC", Metric, name)
        words, example = documented_metric(module)
        unit = f", unit: {metric.unit}" if metric.unit else ""
        of = f"Of values of kind {' or '.join(map(code, metric.kinds))}"
        of += f" with role `{metric.role}`" if metric.role else ""
        parts += [f"(metric-{name})=\n## {name}", words, f"{of}{unit}.", example]
    return "\n\n".join(parts) + "\n"


def documented_metric(module: ModuleType) -> tuple[str, str]:
    """A metric's docstring as Markdown, its example apart. Raises UndocumentedError on one without all its parts."""
    said = documentation(module, module.__name__)
    words, _, example = said.partition("\n\n>>> ")
    for heading in HEADINGS:
        if not re.search(rf"^{heading} \S", words, re.M):
            raise UndocumentedError(f"{module.__name__} does not say its {heading}")
    if not example:
        raise UndocumentedError(f"{module.__name__} has no example")
    listed = re.sub(rf"^({'|'.join(HEADINGS)})", r"\n**\1**", prose(words), flags=re.M)
    return listed, f"```pycon\n>>> {example}\n```"


def module_of(package: str, attribute: str, cls: type, name: str) -> ModuleType:
    """The file that defines one row of an extension point."""
    row = discover(package, attribute, cls)[name]
    inside = [module for key, module in sys.modules.items() if key.startswith(f"{package}.")]
    (found,) = (module for module in inside if vars(module).get(attribute) is row)
    return found


def policies() -> str:
    from paritygate.catalog.select import policies as known

    rows = []
    for policy in known().values():
        if not policy.doc:
            raise UndocumentedError(f"dtype policy {policy.name} says nothing of itself (doc)")
        dtypes = (code(policy.name), code(policy.compute), code(policy.island))
        rows.append((*dtypes, prose(policy.doc), prose(policy.floor_from)))
    return table(("policy", "compute", "island", "", "noise floor"), rows)


def arithmetics() -> str:
    """The policies that emulate how some hardware multiplies, with what their products run in."""
    from paritygate.catalog.select import policies as known

    rows = [(code(each.name), code(each.matmul), prose(each.doc)) for each in known().values() if each.matmul]
    return table(("policy", "products in", ""), rows)


def axes() -> str:
    from paritygate.catalog.meshes import KINDS

    return table(("axis", "splits"), [(code(kind), ", ".join(map(code, logical))) for kind, logical in KINDS.items()])


def cells() -> str:
    """The mesh layouts that are audited."""
    from paritygate.catalog.meshes import MESHES

    rows = []
    for name, layout in MESHES.items():
        splits = "; ".join(f"{logical} over {' and '.join(by)}" for logical, by in layout.rules.items())
        rows.append((code(name), str(layout.devices), layout.types, splits or "nothing"))
    return table(("layout", "devices", "axis types", "splits"), rows)


def targets() -> str:
    from paritygate.catalog.targets import CHIPS

    rows = []
    for chip in CHIPS.values():
        memory, bandwidth = f"{chip.memory_bytes / 2**30:.0f} GiB", f"{chip.memory_bytes_s / 1e9:.0f} GB/s"
        rows.append((code(chip.example), chip.platform, memory, bandwidth))
    return table(("target, such as", "platform", "memory of a device", "its bandwidth"), rows)


def sections() -> str:
    """The sections of a report, in its order: title, name for `report --text`, and what the file says of it."""
    from paritygate.report.assemble import sections as known
    from paritygate.report.parts import Section

    rows = []
    for section in known():
        module = module_of("paritygate.report.sections", "SECTION", Section, section.name)
        said = documentation(module, module.__name__).split("\n\n")[0]
        rows.append((prose(section.title), code(section.name), prose(" ".join(said.split()))))
    return table(("section", "name", "answers"), rows)
