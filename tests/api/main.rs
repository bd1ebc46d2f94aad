//! The API on the real router over TCP: real store on a SQLite file, real engine, real wire to the
//! sandbox with real end-to-end encryption.

mod bad_input;
mod event;
mod health;
mod idempotency;
mod instance;
mod isolation;
mod message;
mod operator;
mod restart;
mod websocket;
mod world;
