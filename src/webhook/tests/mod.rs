//! Against real sockets: what listens here does what hostile endpoints do.

mod address;
mod endpoint;
mod flow;
mod hostile;
mod http2;
mod name;
mod secure;
mod target;
