//! Where log records go: to the journal with fields, or as readable lines to standard error.
