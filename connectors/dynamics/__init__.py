"""Dynamics 365 (Dataverse Web API, OData 4): events become cases by alternate key."""
