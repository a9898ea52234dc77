"""The tables of the service, SQLAlchemy Core: the index of run folders, and what no folder has.

`run`, `place` and `row`, and each line of `project`, are made of folders and can be made again; the others are kept
here only. Times are seconds since 1970, UTC.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# Constraints have names, or Alembic could not change them later.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_BIG = BigInteger().with_variant(Integer, "sqlite")  # only an INTEGER is SQLite's row id


def _id() -> Column[int]:
    return Column("id", _BIG, primary_key=True)


project = Table(
    "project",
    METADATA,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("created", Float, nullable=False),
)

run = Table(
    "run",
    METADATA,
    _id(),
    Column("project_id", ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(128), nullable=False),  # RunInfo.id, the folder's name
    Column("number", Integer, nullable=False),  # 1, 2, … in its project, in the order of arrival
    Column("suite", String(128), nullable=False),
    Column("branch", String(256), nullable=False),
    Column("commit", String(64), nullable=False),
    Column("pull_request", String(32), nullable=False),
    Column("platforms", String(512), nullable=False),  # " cpu gpu ": with a space around each
    Column("verdict", String(16), nullable=False),  # what the gate says of the run as it was judged, in words
    Column("exit_code", SmallInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("started", Float, nullable=False),
    Column("arrived", Float, nullable=False),
    Column("arrived_by", String(128), nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("fault", String(128), nullable=False),
    Column("content", String(64), nullable=False),  # sha256 over the names and hashes of its files
    Column("pinned", SmallInteger, nullable=False),
    UniqueConstraint("project_id", "name"),
    UniqueConstraint("project_id", "number"),
    Index("ix_run_branch", "project_id", "branch", "number"),
)

# What identifies a row in any run, once for all runs of a project.
place = Table(
    "place",
    METADATA,
    _id(),
    Column("project_id", ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    Column("case", String(256), nullable=False),
    Column("cell", String(128), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("address", String(256), nullable=False),  # SITE:PORT#CALL
    UniqueConstraint("project_id", "case", "cell", "mode", "address"),
    Index("ix_place_address", "project_id", "address"),
)

# The judgement is the row's worst one: what decided it.
row = Table(
    "row",
    METADATA,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),  # its line in rows.jsonl, from 0
    Column("place_id", _BIG, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("diagnosis", String(16), nullable=False),
    Column("metric", String(64), nullable=False),
    Column("value", Float),
    Column("ratio", Float),
    Column("limit", Float),
    Column("share", Float),  # of its budget; NULL where nothing was judged
    Column("others", Text, nullable=False),  # the shares of its other judgements by metric, as JSON; empty for none
    Column("accepted", SmallInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Index("ix_row_place", "place_id", "run_id"),
    Index("ix_row_verdict", "run_id", "verdict", "position"),
    Index("ix_row_share", "run_id", "share", "position"),
    sqlite_with_rowid=False,
)

token = Table(
    "token",
    METADATA,
    _id(),
    Column("name", String(128), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),  # sha256 of the token; the token itself is kept nowhere
    Column("scopes", String(128), nullable=False),  # "read submit"
    Column("project", String(64), nullable=False),  # empty: of all projects
    Column("created", Float, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Column("used", Float),  # last, to the minute
)

audit = Table(
    "audit",
    METADATA,
    _id(),
    Column("at", Float, nullable=False),
    Column("who", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("project", String(64), nullable=False),
    Column("target", String(256), nullable=False),
    Column("detail", JSON, nullable=False),
    Index("ix_audit_project", "project", "id"),
)

upload = Table(
    "upload",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("project_id", ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    Column("run", String(128), nullable=False),
    Column("content", String(64), nullable=False),
    Column("total_bytes", _BIG, nullable=False),
    Column("who", String(128), nullable=False),
    Column("created", Float, nullable=False),
    Column("touched", Float, nullable=False),
    UniqueConstraint("project_id", "run", "content"),
)

job = Table(
    "job",
    METADATA,
    _id(),
    Column("project_id", ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    Column("suite", String(128), nullable=False),
    Column("cases", JSON, nullable=False),
    Column("cells", JSON, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("revision", String(64), nullable=False),
    Column("branch", String(256), nullable=False),
    Column("requested_by", String(128), nullable=False),
    Column("created", Float, nullable=False),
    Column("cancelled", Float),
    Index("ix_job_project", "project_id", "id"),
)

# What one worker does of a job in one go: the cells of one platform, which give one run.
task = Table(
    "task",
    METADATA,
    _id(),
    Column("job_id", ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("cells", JSON, nullable=False),
    Column("labels", JSON, nullable=False),  # that a worker must have
    Column("state", String(16), nullable=False),  # queued, leased, done, failed, cancelled
    Column("attempt", Integer, nullable=False),  # how often it was leased
    Column("worker", String(128), nullable=False),
    Column("lease", String(32), nullable=False),  # of the attempt; empty where there is none
    Column("until", Float),  # when the lease runs out
    Column("run", String(128), nullable=False),
    Column("exit_code", SmallInteger),
    Column("reason", Text, nullable=False),  # why it failed
    Column("progress", JSON, nullable=False),
    Index("ix_task_state", "state", "until"),
    Index("ix_task_job", "job_id"),
)

worker = Table(
    "worker",
    METADATA,
    _id(),
    Column("name", String(128), nullable=False, unique=True),
    Column("labels", JSON, nullable=False),
    Column("revisions", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("token", String(128), nullable=False),  # by whose name it works
    Column("seen", Float, nullable=False),
)

# What happens, in order: a reader that comes back asks for what is behind the last id that it has.
event = Table(
    "event",
    METADATA,
    _id(),
    Column("at", Float, nullable=False),
    Column("project", String(64), nullable=False),
    Column("job_id", _BIG),
    Column("kind", String(32), nullable=False),
    Column("data", JSON, nullable=False),
    Index("ix_event_project", "project", "id"),
    Index("ix_event_job", "job_id", "id"),
)

# What the servers of one database share: the secret that signs cookies.
setting = Table(
    "setting", METADATA, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False)
)

INDEX_TABLES = (row, place, run)  # emptied by a rebuild, in this order; jobs and uploads hang on their project
