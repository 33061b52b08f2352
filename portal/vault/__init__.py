"""Personal fields at rest and in envelopes: keys, encryption, blind index, JOSE."""
