//! What a take costs, and a live bucket. `just` prints it for docs/performance.md.
