"""Document management: service reports and telemetry snapshots, by CMIS 1.1 or WebDAV."""
