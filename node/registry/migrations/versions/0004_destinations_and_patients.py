"""Destinations that a person has paused; who issued a patient's number.

Revision: 0004
After: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "paused_destinations",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_paused_destinations"),
    )
    op.add_column("studies", sa.Column("patient_id_issuer", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("studies", "patient_id_issuer")
    op.drop_table("paused_destinations")
