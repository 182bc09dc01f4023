"""The promises of the Store port, the same for every store: one short file per store."""
