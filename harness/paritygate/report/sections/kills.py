"""What the gate is known to catch in the cases of the run: faults that were planted in the candidate, one by one."""

from paritygate.report.data import ReportData
from paritygate.report.parts import Part, Section, Text, Tone


def build(data: ReportData) -> list[Part]:
    if not data.kill_matrix.mutants:
        return []
    from paritygate.report.kill_matrix import matrix_parts  # `show` and its like start without

    note = (
        "Planted by `paritygate mutate` in the candidate, on cases of this run, and recorded; not planted again in it."
    )
    return [Text(note, Tone.MUTED), *matrix_parts(data.kill_matrix)]


SECTION = Section("kills", 46, "What the gate catches", build)
