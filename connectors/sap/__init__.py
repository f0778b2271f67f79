"""SAP S/4HANA: maintenance notifications over OData V2 (API_MAINTNOTIFICATION).

An event becomes a notification, found again by its external reference number; updates add a
line and may raise the priority, clears complete it, and what comes back reopens it. A
maintenance order for each notification is optional (connectors/sap/orders.py).
"""
