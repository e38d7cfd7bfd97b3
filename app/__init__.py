"""The chat: settings, wiring, the rules of a turn, a page in the browser and a terminal.

Knows no maths and no SQL: `core` and `storage` are used through their few verbs only.
"""
