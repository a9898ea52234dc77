"""Runs migrations on the engine that `database.migrate` brings, one transaction each."""

from alembic import context

from paritygate.service.database import writing
from paritygate.service.tables import METADATA

engine = context.config.attributes["engine"]
with writing(engine).connect() as connection:
    context.configure(
        connection=connection, target_metadata=METADATA, render_as_batch=True, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
