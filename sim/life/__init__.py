"""The played system: learning, events carried out, evaluation, ledger, what a run is saved as."""
