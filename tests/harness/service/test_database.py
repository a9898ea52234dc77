"""The database when things go wrong: the power fails, another holds it for long, it is away, or it says nothing."""

from fastapi import FastAPI


def test_what_was_changed_is_on_the_disk(app: FastAPI) -> None:
    """Less would lose the last changes when the power fails: a token that was revoked, for one."""
    with app.state.service.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            asked, full = ("PRAGMA synchronous", "PRAGMA journal_mode"), [2, "wal"]
        else:
            asked, full = ("SHOW synchronous_commit",), ["on"]
        assert [connection.exec_driver_sql(each).scalar_one() for each in asked] == full
