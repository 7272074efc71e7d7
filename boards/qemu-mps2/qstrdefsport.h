// Names that are no identifiers.
Q(/lib)
