//! The arithmetic against GCRA without leases, and live buckets on a real node.

mod arithmetic;
mod bench;
mod branch;
mod live;
