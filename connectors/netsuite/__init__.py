"""NetSuite: events become support cases by external id, over SuiteTalk REST."""
