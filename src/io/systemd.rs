//! What the service manager is told.
