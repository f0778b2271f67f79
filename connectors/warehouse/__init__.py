"""The lake into warehouses: tables, load statements, and a ledger that counts each file once."""
