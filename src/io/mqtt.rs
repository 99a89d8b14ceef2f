//! The MQTT client: keeps a connection, rebuilds its subscriptions on each, and says what came.
