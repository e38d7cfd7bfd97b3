"""The method: a context folded by one forward pass into an additive state, and the adapter that comes of it.

Knows nothing of users, conversations, disks beyond a model folder, or databases.
"""
