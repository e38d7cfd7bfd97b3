"""What is kept: users, conversations, turns and memories, in one database.

Knows no tensors and no models: a state crosses this border as bytes with a small header.
"""
