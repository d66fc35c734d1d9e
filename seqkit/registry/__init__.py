"""Finding plugins by entry points, importing them safely, and recording which ones were used."""
