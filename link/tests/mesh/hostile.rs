//! Strangers on the cluster port.
