"""The revisions of the schema, run by storage/schema.py; there is no alembic.ini.

To write a new one after a change to tables.py, on a database at the present head:

    with build_engine(read_address(url), 15.0).begin() as connection:
        alembic.command.revision(migration_config(connection), "what changes", autogenerate=True, rev_id="0002")
"""
