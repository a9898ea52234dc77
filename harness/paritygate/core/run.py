"""A run: rows plus provenance, in one folder.

Reads and writes `run.json`, `rows.jsonl`, `coverage.json`, `lint.json`, `programs.json`, `explanations.jsonl` and
`blames.jsonl`; reads what the replay wrote, `drifts.jsonl`, `inspections.jsonl`, `findings.jsonl`, `programs.jsonl` and
`values.jsonl`, and `compilations.jsonl`, what was compiled and not run.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from paritygate.core.blame import Blame
from paritygate.core.codec import canonical, from_json, readable
from paritygate.core.coverage import Coverage, Inspection
from paritygate.core.drift import Drift, Kept, Row
from paritygate.core.errors import UsageError
from paritygate.core.hypothesis import Counterfactual
from paritygate.core.lint import Finding, Lint
from paritygate.core.program import Program, ProgramChanges

if TYPE_CHECKING:
    import pandas

    from paritygate.core.compilation import Compilation

T = TypeVar("T")
RUN_FORMAT = 1

# Whose choices a replay goes by: the candidate's, or in their place the golden's.
Routing = Literal["own", "golden"]
_DRIFT_COLUMNS = tuple("case cell mode site port call order kind layout shape dtype nonfinite".split())
_ROW_COLUMNS = tuple("verdict diagnosis origin reason accepted".split())


@dataclass(frozen=True)
class Repeat:
    """One case of a cell that was replayed again: how many values, and which were not the same bits.

    One that was not is named by mode and address: `chained head:out`.
    """

    cell: str
    case: str
    values: int
    differing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skip:
    """A cell that a case is not run in, decided before anything ran, and why. An empty `case` is every case."""

    cell: str
    reason: str
    case: str = ""


def why_skipped(skips: Iterable[Skip], case: str, cell: str) -> str:
    """Why a case is not run in a cell; empty where it is."""
    return next((each.reason for each in skips if each.cell == cell and each.case in ("", case)), "")


@dataclass(frozen=True)
class RunInfo:
    """The content of `run.json`: what was asked, what ran, and whatever influenced it.

    `workers` holds one record per worker process, also of those that died: environment, versions, cells, compilations,
    wall time, peak memory. It is written anew whenever a worker says something of itself, so that a run that is killed
    can be resumed. `asked` is each family, dtype policy and worker of the plan by hash, by which it is known whether
    the catalog still says what it did. `goldens` maps a case id to the sha256 of its manifest. `peak_memory_bytes` is
    the sum of the workers' peaks, which run side by side, of a resumed run the larger of its parts'; `compilations` the
    sum of the programs that they asked XLA for. `values` is how many a replay of all of it gives, so that whoever reads
    the folder meanwhile knows how far it is. The judge sets how many `rows` it wrote, the sha256 of the `budgets` and
    of the `baseline` files, one behind the other by name, that it wrote them by (no baseline: nothing), of which
    metrics more is better (`rising`), and `baseline_x` of these budgets, so that the rows can be held against another
    baseline.
    """

    id: str
    suite: str
    cases: tuple[str, ...]
    cells: tuple[str, ...]
    modes: tuple[str, ...]
    started: str
    command: tuple[str, ...]
    goldens: Mapping[str, str]
    versions: Mapping[str, str]
    workers: tuple[Mapping[str, Any], ...] = ()
    wall_s: float = 0.0
    compilations: int = 0
    peak_memory_bytes: int = 0
    repeats: tuple[Repeat, ...] = ()  # one a cell
    problems: tuple[str, ...] = ()  # infrastructure: a worker that died, a time-out
    rows: int = 0
    budgets: str = ""
    baseline: str = ""
    rising: tuple[str, ...] = ()
    baseline_x: float = 0.0  # how many times an accepted drift a row may have; 0 of runs of an earlier version
    routing: Routing = "own"
    processes: int = 1  # that a mesh lies over
    fault: str = ""  # of the catalog, planted in the candidate
    asked: Mapping[str, str] = field(default_factory=dict)
    floors: Mapping[str, str] = field(default_factory=dict)  # cell → where its noise floor comes from, in words
    skipped: tuple[Skip, ...] = ()
    values: int = 0
    format: int = RUN_FORMAT

    def skip(self, case: str, cell: str) -> str:
        """Why a case was not run in a cell; empty where it was."""
        return why_skipped(self.skipped, case, cell)

    @property
    def reproducible(self) -> bool | None:
        """Whether the candidate gave the same bits each time; None where nothing was repeated."""
        return not any(repeat.differing for repeat in self.repeats) if self.repeats else None


@dataclass(frozen=True)
class Run:
    """One run folder."""

    folder: Path
    info: RunInfo = field(compare=False)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Reads `run.json`; raises UsageError where the folder is no run or of another format."""
        try:
            data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError("no such run", where=str(folder), try_="paritygate run tiny") from None
        except (OSError, ValueError, RecursionError) as reason:
            raise UsageError("run.json cannot be read", where=str(folder), got=str(reason)) from reason
        found = data.get("format") if isinstance(data, dict) else None
        if found != RUN_FORMAT:
            raise UsageError("run of another format", where=str(folder), expected=str(RUN_FORMAT), got=str(found))
        return cls(folder, from_json(RunInfo, data))

    def drifts(self) -> Iterator[Drift]:
        """The measured lines, as the replay wrote them; a last line cut off by a kill is left out."""
        return _lines(self.folder / "drifts.jsonl", Drift)

    def inspections(self) -> Iterator[Inspection]:
        """What the candidate was found to be made of, as the replay wrote it."""
        return _lines(self.folder / "inspections.jsonl", Inspection)

    def findings(self) -> Iterator[Finding]:
        """What the precision lint found in the candidate's programs, as the replay wrote it."""
        return _lines(self.folder / "findings.jsonl", Finding)

    def programs(self) -> Iterator[Program]:
        """What the compiled programs of cells with several devices exchange and hold, as the replay wrote it."""
        return _lines(self.folder / "programs.jsonl", Program)

    def compilations(self) -> "Iterator[Compilation]":
        """What came of passes that were compiled for devices that need not be there; of the suite `full` only."""
        from paritygate.core.compilation import Compilation  # few runs have any, and `show` starts without

        return _lines(self.folder / "compilations.jsonl", Compilation)

    def values(self) -> Iterator[Kept]:
        """The values that the replay kept; their tensors are in the folder `values`."""
        return _lines(self.folder / "values.jsonl", Kept)

    def counterfactuals(self) -> list[Counterfactual]:
        """What was found to explain the first divergences; empty where nobody asked."""
        return list(_lines(self.folder / "explanations.jsonl", Counterfactual))

    def blames(self) -> list[Blame]:
        """Which lines of the candidate were found to make drifts; empty where nobody asked."""
        return list(_lines(self.folder / "blames.jsonl", Blame))

    @property
    def is_whole(self) -> bool:
        """Whether the replay reached its end, without a problem: nothing is left to resume."""
        return not self.info.problems

    @property
    def is_judged(self) -> bool:
        return (self.folder / "rows.jsonl").exists()

    def judged(self) -> Iterator[Row]:
        """The judged lines. Raises UsageError where the run was not judged yet, or where not every line is there."""
        path = self._of_judge("rows.jsonl")
        return self._whole(_lines(path, Row), f"paritygate judge {self.folder.name}")

    def coverage(self) -> Coverage:
        """What the run covers. Raises UsageError where the run was not judged yet."""
        return self._one_value("coverage.json", Coverage)

    def lint(self) -> Lint:
        """What is made of the findings. Raises UsageError where the run was not judged yet."""
        return self._one_value("lint.json", Lint)

    def program_changes(self) -> ProgramChanges:
        """How the programs differ from what was recorded. Raises UsageError where the run was not judged yet."""
        return self._one_value("programs.json", ProgramChanges)

    def _one_value(self, name: str, cls: type[T]) -> T:
        path = self._of_judge(name)
        try:
            return from_json(cls, json.loads(path.read_text(encoding="utf-8")), name)
        except (OSError, ValueError, RecursionError) as reason:
            raise UsageError(f"{name} cannot be read", where=str(path), got=str(reason)) from reason

    def _of_judge(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise UsageError("run is not judged", where=self.folder.name, try_=f"paritygate judge {self.folder.name}")
        return path

    def _whole(self, rows: Iterator[Row], again: str) -> Iterator[Row]:
        """The judge replaces the file whole, so a line that is cut or gone, or one more, is not its work."""
        count = 0
        for row in rows:
            count += 1
            yield row
        if count != self.info.rows:
            raise UsageError(
                "rows.jsonl is not what the judge wrote",
                where=str(self.folder),
                expected=f"{self.info.rows} whole rows, as run.json says",
                got=f"{count} whole rows",
                try_=again,
            )

    def rows(self) -> "pandas.DataFrame":
        """One line per row: the drift, the verdict with its reasons, then for each metric its value, ρ and limit.

        The columns of a metric are `rel_l2`, `rel_l2_x` and `rel_l2_limit`, the last two where it was judged.
        """
        import pandas

        records = []
        for row in self.judged():
            drift = row.drift
            record: dict[str, Any] = {
                **{name: getattr(drift, name) for name in _DRIFT_COLUMNS},
                **{name: str(getattr(row, name)) for name in _ROW_COLUMNS},
                **drift.metrics,
            }
            for judgement in row.judgements:
                record |= {f"{judgement.metric}_x": judgement.ratio, f"{judgement.metric}_limit": judgement.limit}
            records.append(record)
        further = {name for record in records for name in record} - {*_DRIFT_COLUMNS, *_ROW_COLUMNS}
        columns = [*_DRIFT_COLUMNS, *_ROW_COLUMNS, *sorted(further)]
        return pandas.DataFrame.from_records(records, columns=columns)

    def save_counterfactuals(self, found: Sequence[Counterfactual]) -> None:
        write_atomic(self.folder / "explanations.jsonl", "".join(canonical(each) + "\n" for each in found).encode())

    def save_blames(self, found: Sequence[Blame]) -> None:
        write_atomic(self.folder / "blames.jsonl", "".join(canonical(each) + "\n" for each in found).encode())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Held while a replay writes into the folder; raises UsageError where one does. A kill lets go of it."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UsageError("run is being replayed", where=self.folder.name, try_="wait until that ends") from None
        finally:
            os.close(handle)

    def save(self, info: RunInfo) -> "Run":
        write_atomic(self.folder / "run.json", readable(info).encode())
        return Run(self.folder, info)

    def save_rows(
        self,
        rows: Sequence[Row],
        budgets: str = "",
        baseline: str = "",
        coverage: Coverage | None = None,
        lint: Lint | None = None,
        programs: ProgramChanges | None = None,
        rising: Sequence[str] = (),
        baseline_x: float = 0.0,
    ) -> "Run":
        """Writes `coverage.json`, `lint.json`, `programs.json`, `rows.jsonl` and, into `run.json`, how many rows and
        what judged them.

        A kill before the last leaves a count that does not fit, which `judged` refuses.
        """
        write_atomic(self.folder / "coverage.json", readable(coverage or Coverage()).encode())
        write_atomic(self.folder / "lint.json", readable(lint or Lint()).encode())
        write_atomic(self.folder / "programs.json", readable(programs or ProgramChanges()).encode())
        write_atomic(self.folder / "rows.jsonl", "".join(canonical(row) + "\n" for row in rows).encode())
        judged = replace(self.info, rows=len(rows), budgets=budgets, baseline=baseline)
        return self.save(replace(judged, rising=tuple(rising), baseline_x=baseline_x))


def _lines(path: Path, cls: Any) -> Iterator[Any]:
    """Each whole line as `cls`: a last one without its newline was cut off by a kill. None where there is no file."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line.decode())
            except ValueError as reason:
                raise UsageError("line cannot be read", where=f"{path}:{number}", got=str(reason)) from reason
            yield from_json(cls, value, f"{path.name}:{number}")


def write_atomic(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Writes a file so that any moment shows the old content or the new, never a part: temporary, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as reason:
        if reason.filename is not None:
            raise
        raise OSError(reason.errno, reason.strerror or str(reason), str(path)) from reason  # a full disk has no name
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Puts on disk which names a folder has: a rename is lost without it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file that only grows, on disk when it returns; what a kill cut off stays a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
