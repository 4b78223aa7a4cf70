"""All that a hub keeps, out of one database and into another: files of CSV and a manifest."""
