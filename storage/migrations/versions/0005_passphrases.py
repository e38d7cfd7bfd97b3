"""A passphrase that guards a name, as its Argon2 hash."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("secret", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("users", "secret")
