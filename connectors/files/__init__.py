"""File batch: CSV, XML or fixed-width files to SFTP or S3, for systems without an API."""
