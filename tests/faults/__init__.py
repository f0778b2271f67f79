"""The fault suite of delivery: real parts, a proxy that spoils the way to the ERP, a checker."""
