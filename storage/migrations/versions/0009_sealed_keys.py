"""Keys of people, with which their texts and states are sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("sealed_key", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("users", "sealed_key")
