"""The marts as one static page: data (what is shown), plots (SVG), page (HTML), tables (CSV)."""
