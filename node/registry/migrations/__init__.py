"""The history of the schema, as Alembic scripts; run by `node.registry.migrate`, shipped inside the package."""
