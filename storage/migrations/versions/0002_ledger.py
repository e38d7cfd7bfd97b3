"""The ledger: the order of folding and a chain of links over the turns held; receipts of what was forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Until now turns were folded in the order of their ids, and a rebuild still replays them so.
NUMBERED = """
UPDATE turns SET position = (
    SELECT count(*) FROM turns AS earlier
    WHERE earlier.user_id = turns.user_id AND earlier.folded_at IS NOT NULL AND earlier.id <= turns.id
) WHERE folded_at IS NOT NULL
"""


def upgrade() -> None:
    op.add_column("turns", sa.Column("position", sa.Integer(), nullable=True))
    op.add_column("turns", sa.Column("link", sa.String(length=64), nullable=True))
    op.execute(NUMBERED)
    op.create_index("ix_turns_user_id_position", "turns", ["user_id", "position"])
    op.create_table(
        "receipts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("conversations", sa.Integer(), nullable=False),
        sa.Column("text_bytes", sa.Integer(), nullable=False),
        sa.Column("digest_before", sa.String(length=64), nullable=False),
        sa.Column("digest_after", sa.String(length=64), nullable=False),
        sa.Column("erased_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_receipts_user_id_users", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_receipts_user_id", "receipts", ["user_id"])


def downgrade() -> None:
    op.drop_table("receipts")
    op.drop_index("ix_turns_user_id_position", "turns")
    op.drop_column("turns", "link")
    op.drop_column("turns", "position")
