"""Lists of jobs, series and studies that stay fast when filtered; the log lines of jobs.

Revision: 0003
After: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NEW = (
    ("ix_jobs_list", "jobs", ["created_at", "id", "state", "pipeline", "rule", "modality", "source_aet"]),
    (
        "ix_jobs_state_list",
        "jobs",
        ["state", "created_at", "id", "pipeline", "modality", "source_aet", "queued_at"],
    ),
    ("ix_jobs_pipeline_list", "jobs", ["pipeline", "created_at", "id", "state", "modality", "source_aet"]),
    ("ix_jobs_finished", "jobs", ["finished_at", "state", "created_at"]),
    ("ix_series_list", "series", ["first_received_at", "id", "modality", "source_aet", "state"]),
    ("ix_studies_patient_name", "studies", ["patient_name"]),
    ("ix_studies_accession_number", "studies", ["accession_number"]),
    ("ix_deliveries_destination_state", "deliveries", ["destination", "state", "sent_at", "created_at"]),
)

OLD = (
    ("ix_jobs_created", "jobs", ["created_at"]),
    ("ix_jobs_pipeline", "jobs", ["pipeline"]),
    ("ix_series_first", "series", ["first_received_at"]),
    ("ix_deliveries_destination", "deliveries", ["destination"]),
)

FROM_PRIMARY_SERIES = """
UPDATE jobs SET {column} = COALESCE((
    SELECT series.{column} FROM job_inputs JOIN series ON series.id = job_inputs.series_id
    WHERE job_inputs.job_id = jobs.id AND job_inputs.role = 'primary' ORDER BY series.id LIMIT 1
), '')
"""


def upgrade() -> None:
    for column in ("modality", "source_aet"):
        op.add_column("jobs", sa.Column(column, sa.String(length=32), nullable=False, server_default=""))
        op.execute(FROM_PRIMARY_SERIES.format(column=column))
    for name, table, _columns in OLD:
        op.drop_index(name, table)
    for name, table, columns in NEW:
        op.create_index(name, table, columns)
    op.create_table(
        "job_logs",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_logs"),
    )


def downgrade() -> None:
    op.drop_table("job_logs")
    for name, table, _columns in NEW:
        op.drop_index(name, table)
    for name, table, columns in OLD:
        op.create_index(name, table, columns)
    for column in ("modality", "source_aet"):
        op.drop_column("jobs", column)
