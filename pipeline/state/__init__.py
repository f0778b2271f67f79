"""What outlives a process: tables, ledger, codecs."""
