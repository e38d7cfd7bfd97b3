"""How the bundled model is made: corpora, synthetic memory dialogues, batches, objective, loop."""
