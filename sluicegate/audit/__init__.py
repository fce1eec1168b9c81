"""The proof: how every event ended at every destination, by which version of the ledger, in a chain of hashes."""
