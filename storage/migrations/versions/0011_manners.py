"""Conversations with instructions and a temperature of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("instructions", sa.Text(), nullable=True))
    op.add_column("conversations", sa.Column("temperature", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("conversations", "temperature")
    op.drop_column("conversations", "instructions")
