"""How much of the memory a conversation reads."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("strength", sa.Double(), nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("conversations", "strength")
