//! The loop that joins core and shell.
