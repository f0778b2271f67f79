"""ERPNext: events become documents by name. The connector to copy for a simple REST system."""
