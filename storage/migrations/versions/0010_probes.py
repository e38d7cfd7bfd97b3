"""Receipts that say what memory still made of the words that were forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("probe_before", "probe_after"):
        op.add_column("receipts", sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    for name in ("probe_after", "probe_before"):
        op.drop_column("receipts", name)
